"""A JSON document against the part of JSON Schema 2020-12 that this project uses; any other keyword is an error."""

TYPES = {
    "object": dict, "array": list, "string": str, "boolean": bool, "number": (int, float), "integer": int,
    "null": type(None),
}  # fmt: skip
SAID = {"$schema", "$id", "$defs", "title", "description"}


def faults(value, schema, root=None, where="$"):
    """The faults, a line each."""
    root = root or schema
    found = []
    for key, rule in schema.items():
        if key not in SAID:
            found += [
                f"{where} {each}" if each[0] != "$" else each for each in RULES[key](value, rule, schema, root, where)
            ]
    return found


def _type(value, rule, *_):
    names = [rule] if isinstance(rule, str) else rule
    fits = any(isinstance(value, TYPES[name]) and (isinstance(value, bool) <= (name == "boolean")) for name in names)
    return [] if fits else [f"is {value!r}, not {' or '.join(names)}"]


def _properties(value, rule, schema, root, where):
    if not isinstance(value, dict):
        return []
    return [
        each for key in rule.keys() & value.keys() for each in faults(value[key], rule[key], root, f"{where}.{key}")
    ]


def _additional(value, rule, schema, root, where):
    if not isinstance(value, dict):
        return []
    others = [key for key in value if key not in schema.get("properties", {})]
    if rule is False:
        return [f"has {key}, which the schema does not know" for key in others]
    return [each for key in others for each in faults(value[key], rule, root, f"{where}[{key!r}]")]


def _items(value, rule, schema, root, where):
    if not isinstance(value, list):
        return []
    return [each for i, item in enumerate(value) for each in faults(item, rule, root, f"{where}[{i}]")]


def _reference(value, rule, schema, root, where):
    target = root
    for part in rule.removeprefix("#/").split("/"):
        target = target[part]
    return faults(value, target, root, where)


RULES = {
    "type": _type,
    "properties": _properties,
    "additionalProperties": _additional,
    "items": _items,
    "$ref": _reference,
    "required": lambda value, rule, *_: [
        f"has no {key}" for key in rule if isinstance(value, dict) and key not in value
    ],
    "enum": lambda value, rule, *_: [] if value in rule else [f"is {value!r}, none of {rule}"],
    "const": lambda value, rule, *_: [] if value == rule else [f"is {value!r}, not {rule!r}"],
    "minimum": lambda value, rule, *_: [] if value is None or value >= rule else [f"is {value}, less than {rule}"],
    "minItems": lambda value, rule, *_: [] if value is None or len(value) >= rule else [f"has {len(value)} items"],
    "maxItems": lambda value, rule, *_: [] if value is None or len(value) <= rule else [f"has {len(value)} items"],
    "propertyNames": lambda value, rule, schema, root, where: [
        each for key in value for each in faults(key, rule, root, f"{where} key")
    ],
}
