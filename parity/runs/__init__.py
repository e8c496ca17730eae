"""The pipelines: a run, a record, a mutation test, a calibration."""
