"""The AWS Query protocol from the server's side: forms in, XML out, by the same model that boto3 goes by."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

import botocore.session

NAMESPACE = "http://rds.amazonaws.com/doc/2014-10-31/"


@functools.cache
def rds() -> Any:
    """botocore's model of RDS."""
    return botocore.session.get_session().get_service_model("rds")


def read(body: str) -> tuple[str, dict[str, Any]]:
    """The action that a request asks for, and its arguments."""
    form = dict(parse_qsl(body, keep_blank_values=True))
    action = form["Action"]
    shape = rds().operation_model(action).input_shape
    return action, _read(shape, "", form)


def answer(action: str, result: Mapping[str, Any]) -> str:
    """The XML of a result; KeyError when it names a field that RDS does not have."""
    shape = rds().operation_model(action).output_shape
    inner = "" if shape is None else f"<{action}Result>{_write(shape, result)}</{action}Result>"
    return f'<{action}Response xmlns="{NAMESPACE}">{inner}{_metadata()}</{action}Response>'


def refusal(code: str, message: str) -> str:
    """The XML of an error."""
    error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
    return f'<ErrorResponse xmlns="{NAMESPACE}">{error}<RequestId>fake</RequestId></ErrorResponse>'


def _metadata() -> str:
    return "<ResponseMetadata><RequestId>fake</RequestId></ResponseMetadata>"


def _read(shape: Any, at: str, form: Mapping[str, str]) -> Any:
    match shape.type_name:
        case "structure":
            return {
                name: _read(member, place, form)
                for name, member in shape.members.items()
                if _present(place := _join(at, member.serialization.get("name", name)), form)
            }
        case "list":
            each = _join(at, shape.member.serialization.get("name", "member"))
            values, number = [], 1
            while _present(f"{each}.{number}", form):
                values.append(_read(shape.member, f"{each}.{number}", form))
                number += 1
            return values
        case "boolean":
            return form[at] == "true"
        case "integer":
            return int(form[at])
        case _:
            return form[at]


def _write(shape: Any, value: Any) -> str:
    match shape.type_name:
        case "structure":
            return "".join(_field(name, shape.members[name], each) for name, each in value.items())
        case "list":
            tag = shape.member.serialization.get("name", "member")
            return "".join(f"<{tag}>{_write(shape.member, each)}</{tag}>" for each in value)
        case "boolean":
            return "true" if value else "false"
        case _:
            return escape(str(value))


def _field(name: str, shape: Any, value: Any) -> str:
    tag = shape.serialization.get("name", name)
    return f"<{tag}>{_write(shape, value)}</{tag}>"


def _present(place: str, form: Mapping[str, str]) -> bool:
    return any(key == place or key.startswith(f"{place}.") for key in form)


def _join(at: str, name: str) -> str:
    return f"{at}.{name}" if at else name
