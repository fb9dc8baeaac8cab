"""The audit log: a record of each call, which answers why a document did not reach the LLM."""

from secondpass.observe.audit_file import read_records
from secondpass.observe.audit_log import AuditLog

__all__ = ["AuditLog", "read_records"]
