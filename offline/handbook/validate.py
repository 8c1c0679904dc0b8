"""All that is wrong with a handbook's files, not only the first; and what is odd about them."""

import typing
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml
from msgspec import Meta, Struct

from models.handbook import SHARED, CategoryHandbook, SharedTerms, pair_fault
from schemas.events import CATEGORIES

FEW_EXAMPLES = 10
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Fault(Struct, frozen=True):
    """``field``: a JSON path in ``file``."""

    file: str
    field: str
    reason: str


class Findings(Struct, frozen=True):
    """``errors``: the handbook cannot be used; ``warnings``: it can."""

    errors: list[Fault]
    warnings: list[Fault]


def validate_handbook(directory: Path) -> Findings:
    """Reads every file of a handbook."""
    errors: list[Fault] = []
    warnings: list[Fault] = []
    for name in (*CATEGORIES, SHARED):
        path = directory / f"{name}.yaml"
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            errors.append(Fault(path.name, "$", f"cannot be read ({error.strerror}); a handbook needs one file per category"))
            continue
        except UnicodeDecodeError:
            errors.append(Fault(path.name, "$", "is no UTF-8 text"))
            continue
        faults, raw = file_faults(path.name, text, name)
        errors += faults
        if not faults and name != SHARED:
            warnings += _oddities(path.name, msgspec.convert(raw, CategoryHandbook))
    return Findings(errors, warnings)


def file_faults(file: str, text: str, name: str) -> tuple[list[Fault], Any]:
    """What makes a file unusable, and its content as YAML gives it.

    Args:
        file: its name, for the faults.
        text: its content.
        name: the category that it should be of, or ``shared``.
    """
    try:
        node = yaml.compose(text, Loader=LOADER)
        raw = yaml.load(text, Loader=LOADER)  # noqa: S506
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        return [Fault(file, "$", f"{where}{getattr(error, 'problem', None) or 'is no YAML'}")], None
    found = [*_twice(node, "$")]
    found += _shape(SharedTerms if name == SHARED else CategoryHandbook, raw, "$")
    found += _content(raw, name)
    return [Fault(file, *one) for one in dict.fromkeys(found)], raw


def _twice(node: Any, path: str) -> Iterator[tuple[str, str]]:
    """Keys that stand twice in a mapping; YAML would keep the last without a word."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if str(key.value) in seen:
                yield f"{path}.{key.value}", f"line {key.start_mark.line + 1}: is written twice"
            seen.add(str(key.value))
            yield from _twice(value, f"{path}.{key.value}")
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            yield from _twice(value, f"{path}[{number}]")


def _shape(kind: Any, value: Any, path: str) -> list[tuple[str, str]]:
    """Faults of types and bounds, each by the innermost field that it belongs to."""
    try:
        msgspec.convert(value, kind)
        return []
    except msgspec.ValidationError as error:
        own = str(error).split(" - at `")[0]
    found: list[tuple[str, str]] = []
    inner, bounds = (typing.get_args(kind)[0], kind.__metadata__) if typing.get_origin(kind) is typing.Annotated else (kind, ())
    if isinstance(value, list | dict):
        found += [(path, reason) for meta in bounds if isinstance(meta, Meta) for reason in _bounds(meta, len(value))]
    origin, args = typing.get_origin(inner), typing.get_args(inner)
    if isinstance(inner, type) and issubclass(inner, Struct) and isinstance(value, dict):
        found += _struct_shape(inner, value, path)
    elif origin is list and isinstance(value, list):
        found += [fault for number, one in enumerate(value) for fault in _shape(args[0], one, f"{path}[{number}]")]
    elif origin is dict and isinstance(value, dict):
        for key, one in value.items():
            found += [(path, f"{key!r}: {reason}") for _, reason in _shape(args[0], key, path)]
            found += _shape(args[1], one, f"{path}.{key}")
    return found or [(path, own)]


def _struct_shape(kind: type[Struct], value: dict[Any, Any], path: str) -> list[tuple[str, str]]:
    fields = {one.name: one for one in msgspec.structs.fields(kind)}
    found = [(f"{path}.{key}", f"is unknown; the fields are {', '.join(fields)}") for key in value if key not in fields]
    for name, one in fields.items():
        if name in value:
            found += _shape(one.type, value[name], f"{path}.{name}")
        elif one.required:
            found.append((f"{path}.{name}", "is missing"))
    return found


def _bounds(meta: Meta, length: int) -> Iterator[str]:
    if meta.min_length is not None and length < meta.min_length:
        yield f"has {length} entries, at least {meta.min_length} are needed"
    if meta.max_length is not None and length > meta.max_length:
        yield f"has {length} entries, at most {meta.max_length} are allowed"


def _content(raw: Any, name: str) -> Iterator[tuple[str, str]]:
    """Faults that no type tells, of whatever has the right shape."""
    if not isinstance(raw, dict):
        return
    for field in ("terms", "modifiers", "things"):
        yield from _pairs(raw.get(field), f"$.{field}")
    if name != SHARED and isinstance(raw.get("category"), str) and raw["category"] != name:
        yield "$.category", f"is {raw['category']}, the file's name says {name}"
    ids: set[str] = set()
    named: set[str] = set()
    dimensions = raw.get("dimensions")
    for number, one in enumerate(dimensions if isinstance(dimensions, list) else ()):
        if not isinstance(one, dict):
            continue
        path = f"$.dimensions[{number}]"
        if str(one.get("id")) in ids:
            yield f"{path}.id", f"{one['id']} is used twice"
        ids.add(str(one.get("id")))
        yield from _pairs(one.get("examples"), f"{path}.examples")
        concepts = one.get("concepts")
        for at, concept in enumerate(concepts if isinstance(concepts, list) else ()):
            if isinstance(concept, dict):
                yield from _pairs({concept.get("en"): concept.get("zh")}, f"{path}.concepts[{at}]")
                for side in {concept.get("en"), concept.get("zh")}:
                    if isinstance(side, str) and side in named:
                        yield f"{path}.concepts[{at}]", f"{side!r} is used twice in the category"
                    named.add(str(side))


def _pairs(pairs: Any, path: str) -> Iterator[tuple[str, str]]:
    for en, zh in pairs.items() if isinstance(pairs, dict) else ():
        if isinstance(en, str) and isinstance(zh, str) and (reason := pair_fault(en, zh)):
            yield path, reason


def _oddities(file: str, book: CategoryHandbook) -> Iterator[Fault]:
    places: dict[str, list[str]] = defaultdict(list)
    chinese: dict[str, list[str]] = defaultdict(list)
    for number, dimension in enumerate(book.dimensions):
        path = f"$.dimensions[{number}].examples"
        if len(dimension.examples) < FEW_EXAMPLES:
            yield Fault(file, path, f"{dimension.id} has only {len(dimension.examples)} examples")
        for en, zh in dimension.examples.items():
            places[en.casefold()].append(dimension.id)
            chinese[zh].append(f"{en} ({dimension.id})")
            if en != en.lower():
                yield Fault(file, path, f"{en!r} is not in lower case")
    for en, where in places.items():
        if len(where) > 1:
            yield Fault(file, "$.dimensions", f"{en!r} is an example of {' and of '.join(where)}")
    for zh, entries in chinese.items():
        if len(entries) > 1 and len({entry.split(" (")[0].casefold() for entry in entries}) > 1:
            yield Fault(file, "$.dimensions", f"{zh} is the Chinese of {' and of '.join(entries)}")
