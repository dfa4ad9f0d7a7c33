"""No key reaches the disk, whatever its shape and form, and what is no key stays as it was."""

import base64
import json
from urllib.parse import quote

from harness.models import keys
from harness.models.recording import file_of
from tests.models.test_recording import call, lines_of, record

KEYS_OF_OTHERS = [
    "gsk_" + "aB3" * 12, "xai-" + "aB3" * 12, "hf_" + "aB3" * 11, "r8_" + "aB3" * 12, "pplx-" + "aB3" * 12, "nvapi-" + "aB3" * 12,
    "fw_" + "aB3" * 8, "sk_live_" + "aB3" * 8, "ghp_" + "aB3" * 12, "AKIA" + "AB3C" * 4, "ya29." + "aB3" * 12, "sk-ant-api03-" + "aB3" * 20,
]  # fmt: skip


def test_keys_of_every_shape_and_in_every_form_are_taken_out(tmp_path, monkeypatch):
    secret = "plain/and+odd==90210"
    monkeypatch.setenv("AZURE_API_KEY", secret)
    forms = [secret, json.dumps(secret), quote(secret, safe=""), base64.b64encode(secret.encode()).decode()]
    said = "\n".join(["", *KEYS_OF_OTHERS, *forms, "url?key%3D" + KEYS_OF_OTHERS[0]])
    came, _, _ = record(
        tmp_path, (400, {}, {"error": {"message": said, "type": "invalid_request_error"}}), calls=[call(said)]
    )
    assert came[0].kind == "bad_request"
    text = file_of(tmp_path, "c0000/task/0-0").read_text()
    for key in [*KEYS_OF_OTHERS, *forms]:
        assert key not in text, key
        assert key not in str(came[0])
    assert lines_of(tmp_path)[0].wire[0]["response"]["status"] == 400  # and it is JSON still


def test_what_only_begins_like_a_key_is_kept():
    for text in (
        "task-list-of-all-the-things",
        "risk_assessment_of_the_plan",
        "half_life_of_the_element_is",
        "eyJust a word",
    ):
        assert keys.redact(text) == text
