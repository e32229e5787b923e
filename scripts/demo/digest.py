"""Reads JSON rows and prints what tells the demo's states apart: each id with its address."""

import json
import sys

rows = [json.loads(line) for line in sys.stdin if line.lstrip().startswith("{")]
print(",".join(sorted(f"{row['id']} {row['address']}" for row in rows)))
