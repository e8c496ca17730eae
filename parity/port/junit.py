"""The report as JUnit XML, which test servers read."""

from xml.etree import ElementTree

from .report import Check, Report
from .text import describe_cause, describe_check, say_difference


def to_junit(report: Report) -> bytes:
    """A test suite with a test for each check; a failure carries the first difference and its causes.

    Elements and attributes are those of Jenkins' schema, which GitLab, GitHub's reporters and Azure read too.
    """
    failed = [check for check in report.checks if not check.passed]
    counts = {"tests": str(len(report.checks)), "failures": str(len(failed)), "errors": "0", "skipped": "0"}
    suites = ElementTree.Element("testsuites")
    suite = ElementTree.SubElement(suites, "testsuite", {"name": "parity port", **counts})
    properties = ElementTree.SubElement(suite, "properties")
    for side, model in (("original", report.original), ("port", report.port)):
        versions = ", ".join(f"{name} {version}" for name, version in model.versions.items())
        ElementTree.SubElement(properties, "property", name=side, value=_clean(f"{model.factory} in {versions}"))
    name = _clean(f"{report.original.factory} {report.port.factory}")
    for check in report.checks:
        case = ElementTree.SubElement(suite, "testcase", classname=name, name=_name(check))
        if not check.passed:
            failure = ElementTree.SubElement(case, "failure", type="differs", message=_clean(check.why))
            failure.text = _clean("\n".join(_lines(report)))
    return ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True)


def _name(check: Check) -> str:
    mode, precision, what, *_ = describe_check(check)
    return " ".join((mode, precision, what))


def _lines(report: Report) -> list[str]:
    found = []
    for each in report.differences:
        found.append(say_difference(each))
        for cause in each.causes:
            found += [describe_cause(cause), f"change {cause.place}: {cause.place.text}"]
        if not each.causes:
            found.append("cause unknown")
    return found


def _clean(text: str) -> str:
    """The text without the characters that XML cannot hold."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)
