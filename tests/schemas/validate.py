"""Holds YAML files and records against JSON schemas; prints what is wrong, one line each, and exits with 1.

validate.py kubernetes SCHEMAS FILE...    each document of the files is an object of Kubernetes
validate.py whole SCHEMA FILE...          each file is one document
validate.py records DOCUMENT              standard input: {"channel": …, "value": …} a line, by AsyncAPI
validate.py json FILE...                  only prints the documents, a JSON array
"""

import json
import sys

import yaml
from jsonschema.validators import validator_for

wrong = 0
checked = 0


class Loader(yaml.SafeLoader):
    """Refuses a key that stands twice, which YAML forbids and PyYAML takes."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        if len(keys) != len(set(keys)):
            raise yaml.constructor.ConstructorError(None, None, "a key stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


def validator(schema):
    kind = validator_for(schema)
    kind.check_schema(schema)
    return kind(schema)


def check(name, checker, value):
    global wrong, checked
    checked += 1
    for error in sorted(checker.iter_errors(value), key=lambda error: list(map(str, error.path))):
        wrong += 1
        print(f"{name}: {'/'.join(map(str, error.path))}: {error.message[:300]}")


def documents(files):
    for file in files:
        with open(file, encoding="utf-8") as opened:
            for number, document in enumerate(yaml.load_all(opened, Loader)):
                yield f"{file}[{number}]", document


def kubernetes(schemas, files):
    with open(schemas, encoding="utf-8") as opened:
        known = json.load(opened)
    for name, document in documents(files):
        kind = f"{document.get('apiVersion')}/{document.get('kind')}"
        if kind not in known["kinds"]:
            check(f"{name}: no schema of {kind}", validator(False), document)
            continue
        schema = {"$ref": known["kinds"][kind], "definitions": known["definitions"]}
        check(name, validator({"$schema": known["$schema"], **schema}), document)


def whole(schema, files):
    with open(schema, encoding="utf-8") as opened:
        checker = validator(json.load(opened))
    for name, document in documents(files):
        check(name, checker, document)


def records(document):
    with open(document, encoding="utf-8") as opened:
        whole = yaml.load(opened, Loader)
    checkers = {}
    for channel, told in whole["channels"].items():
        names = [reference["$ref"].rsplit("/", 1)[1] for reference in told["messages"].values()]
        payloads = [whole["components"]["messages"][name]["payload"] for name in names]
        schema = {"anyOf": payloads, "components": whole["components"]}
        checkers[channel] = validator({"$schema": "http://json-schema.org/draft-07/schema#", **schema})
    for number, line in enumerate(sys.stdin):
        record = json.loads(line)
        check(f"record {number} of {record['channel']}", checkers[record["channel"]], record["value"])


if __name__ == "__main__":
    how, first, *rest = sys.argv[1:]
    if how == "json":
        print(json.dumps([document for _, document in documents([first, *rest])]))
        sys.exit(0)
    if how == "records":
        records(first)
    else:
        {"kubernetes": kubernetes, "whole": whole}[how](first, rest)
    print(f"{checked} checked, {wrong} wrong")
    sys.exit(1 if wrong or not checked else 0)
