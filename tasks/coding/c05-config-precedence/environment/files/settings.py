# The settings loader; SETTINGS.md says what it must do.


def load(defaults, file_values, environ):
    return dict(defaults)
