"""One text form for rows, whichever reader they come from.

Decimals are plain digits, times are ISO 8601 with microseconds, bytes are hex, and columns keep the table's order, so
that two readers that see the same rows print the same lines.
"""

import datetime
import decimal
import json
import math


def value(item):
    if isinstance(item, decimal.Decimal):
        return format(item, "f")
    if isinstance(item, datetime.datetime):
        if item.tzinfo is not None:
            item = item.astimezone(datetime.timezone.utc)
            return item.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
        return item.isoformat(timespec="microseconds")
    if isinstance(item, datetime.time):
        return item.isoformat(timespec="microseconds")
    if isinstance(item, datetime.date):
        return item.isoformat()
    if isinstance(item, (bytes, bytearray, memoryview)):
        return bytes(item).hex()
    if isinstance(item, float) and not math.isfinite(item):
        return str(item)
    return item


def print_rows(names, rows):
    for row in rows:
        line = {name: value(item) for name, item in zip(names, row)}
        print(json.dumps(line, ensure_ascii=False, separators=(",", ":")))
