"""Prints alerts of weir, a line each, once each, and ends after --count of them, or never.

Put your own action in the place of `handle`. An alert is committed after it was handled: when that
fails, or the program is killed, it comes again. What cannot be read is skipped with a message.
"""

import argparse
import json
import signal
import sys
from collections import OrderedDict

from confluent_kafka import Consumer, KafkaException

# A record can come twice; so many ids are remembered to notice it.
REMEMBERED = 10_000


def handle(alert):
    """Does what is to be done about an alert; an exception ends the program, nothing is committed."""
    data = alert["data"]
    print(data["state"], alert["subject"], f"score {data['score']:.2f}", data["why"], flush=True)


def read(value):
    """The alert in the value of a record; a ValueError says why there is none.

    Only what `handle` needs is looked at: fields that are not known here are left alone.
    """
    if value is None:
        raise ValueError("no value")
    try:
        alert = json.loads(value)
        data = alert["data"]
        texts = [alert["id"], alert["subject"], data["state"], data["why"]]
        score = data["score"]
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"not an alert: {error!r}") from None
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("not an alert: a name is not text")
    if isinstance(score, bool) or not isinstance(score, (int, float)):
        raise ValueError("not an alert: the score is not a number")
    if data["state"] not in ("firing", "resolved"):
        raise ValueError(f"a state that is not known here: {data['state']}")
    return alert


def main():
    parser = argparse.ArgumentParser(description="Prints alerts of weir, each once.")
    parser.add_argument("--brokers", default="localhost:9092")
    parser.add_argument("--topic", default="weir.alerts")
    parser.add_argument("--group", default="alert-printer")
    parser.add_argument("--count", type=int, default=0, help="end after so many; 0: never")
    options = parser.parse_args()

    # SystemExit leaves the loop wherever it is; what was not committed comes again.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
    # TLS and passwords belong here, too: security.protocol, ssl.ca.location, sasl.mechanisms, …
    consumer = Consumer({
        "bootstrap.servers": options.brokers,
        "group.id": options.group,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
    })
    consumer.subscribe([options.topic])
    seen, handled = OrderedDict(), 0
    try:
        while not options.count or handled < options.count:
            message = consumer.poll(1.0)
            if message is None:
                continue
            if message.error():
                print(f"Kafka: {message.error()}", file=sys.stderr)
                continue
            place = f"{message.topic()} [{message.partition()}] at offset {message.offset()}"
            try:
                alert = read(message.value())
            except ValueError as error:
                print(f"skipped {place}: {error}", file=sys.stderr)
            else:
                if alert["id"] not in seen:
                    handle(alert)
                    handled += 1
                    seen[alert["id"]] = None
                    if len(seen) > REMEMBERED:
                        seen.popitem(last=False)
            # The work is done: only now is the record not to come again.
            try:
                consumer.commit(message, asynchronous=False)
            except KafkaException as error:
                # The partition went to another consumer, or Kafka is away.
                print(f"{place} is not committed and may come again: {error}", file=sys.stderr)
    finally:
        consumer.close()


if __name__ == "__main__":
    main()
