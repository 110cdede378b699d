"""Validators for the files of a run, from the schemas in the package."""

from __future__ import annotations

import json
from typing import Any

from jsonschema import Draft202012Validator

from hotpin_hil.paths import PROJECT_ROOT

_FOLDER = PROJECT_ROOT / "hotpin_hil" / "evidence" / "schemas"


def _schema(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((_FOLDER / name).read_text())
    Draft202012Validator.check_schema(schema)
    return schema


LINE_SCHEMA = _schema("results.schema.json")

RESULTS_LINE = Draft202012Validator(LINE_SCHEMA)
REQUIREMENT = Draft202012Validator({**LINE_SCHEMA, "oneOf": [{"$ref": "#/$defs/requirement"}]})
QUALIFICATION = Draft202012Validator(_schema("qualification.schema.json"))
