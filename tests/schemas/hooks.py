"""What a request of our API must be beyond its schema, and how a list is sent.

Where the API says one of these, a request that its description allows was refused rightly.
"""

import schemathesis

BEYOND = (
    "`from` is not before `to`",
    "only one of `device` and `metric`",
    "`cursor`",
    "`words` has no word",
    # Lengths are counted in bytes, which no schema can say.
    "is too long",
    "is empty or too long",
    "bytes and no control characters",
    # What a patch makes of what is there already.
    "too many entries in",
    "`limit` and `max_points`",
    "the range spans",
    # A query has to be PromQL, a list CSV with its columns.
    'invalid parameter \\"query\\"',
    'invalid parameter \\"match[]\\"',
    'invalid parameter \\"step\\"',
    'invalid parameter \\"lookback_delta\\"',
    "no match[] parameter provided",
    "end timestamp must not be before start time",
    "exceeded maximum resolution",
    "send CSV in UTF-8 with a first line like",
)


@schemathesis.serializer("text/csv")
def csv(_context, value):
    return value.encode() if isinstance(value, str) else b"\xff"


@schemathesis.hook
def filter_failure(_context, failure, case, response):
    kind = type(failure).__name__
    refused = kind == "RejectedPositiveData" and response.status_code == 400
    # In a form a value and a list of one look alike.
    body = case.body if isinstance(case.body, dict) else {}
    alike = isinstance(body.get("match[]"), (str, int, float))
    return not (
        (refused and any(words in response.text for words in BEYOND))
        or (kind == "AcceptedNegativeData" and alike)
    )
