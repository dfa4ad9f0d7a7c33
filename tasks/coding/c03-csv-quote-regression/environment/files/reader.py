# Reads tickets.txt files; see DIALECT.md.


def parse(text):
    return [line.split(",") for line in text.splitlines()]
