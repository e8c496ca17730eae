"""The report as JUnit XML, which test servers read."""

from xml.etree import ElementTree

from .report import Report


def to_junit(report: Report) -> bytes:
    """A test suite with a test for each check; a failure carries the first difference and its causes."""
    failed = [check for check in report.checks if not check.passed]
    name = f"{report.original.factory} {report.port.factory}"
    suite = ElementTree.Element(
        "testsuite", name="parity port", tests=str(len(report.checks)), failures=str(len(failed)), errors="0"
    )
    for check in report.checks:
        case = ElementTree.SubElement(
            suite, "testcase", classname=name, name=f"{check.mode} {check.dtype} {check.what}"
        )
        if not check.passed:
            failure = ElementTree.SubElement(case, "failure", message=check.why)
            failure.text = "\n".join(
                f"{each.where}, {each.place}: {'; '.join(cause.what for cause in each.causes) or 'cause unknown'}"
                for each in report.differences
            )
    return ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True)
