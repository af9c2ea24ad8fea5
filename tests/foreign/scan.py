"""Says which of the texts on its lines the rules for scanners of secrets in deploy/secret-scanning/ find, and what of them.

One JSON document a line: {"prefixes", "text"} in; {"gitleaks", "trufflehog"} out, each what was found, or null.
"""

import json
import pathlib
import re
import sys
import tomllib

FOLDER = pathlib.Path(__file__).parents[2] / "deploy" / "secret-scanning"
PREFIX = "sk"


def rules():
    """The expression and the keywords of each scanner's rule."""
    (rule,) = tomllib.loads((FOLDER / "gitleaks.toml").read_text())["rules"]
    yield "gitleaks", rule["regex"], rule["keywords"]
    text = (FOLDER / "trufflehog.yml").read_text()
    (expression,) = re.findall(r"^      key: '(.*)'$", text, re.MULTILINE)
    yield "trufflehog", expression, re.findall(r"^      - (\S+)$", text, re.MULTILINE)


def found(expression, keywords, prefixes, text):
    """What the rule finds once it has these prefixes, as its first lines say."""
    assert expression.count(f"(?:{PREFIX})") == 1 and keywords == [f"{PREFIX}_"], expression
    expression = expression.replace(f"(?:{PREFIX})", f"(?:{'|'.join(prefixes)})")
    if not any(f"{prefix}_" in text.lower() for prefix in prefixes):
        return None
    match = re.search(expression, text)
    return match and match.group(1)


for line in sys.stdin:
    asked = json.loads(line)
    print(json.dumps({
        name: found(expression, keywords, asked["prefixes"], asked["text"])
        for name, expression, keywords in rules()
    }))
