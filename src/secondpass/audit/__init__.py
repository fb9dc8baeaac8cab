"""The audit log: one record for each call, in a file that answers why a document did not reach the LLM."""

from secondpass.audit.log import AuditLog
from secondpass.audit.read import AuditFile, open_audit_file

__all__ = ["AuditFile", "AuditLog", "open_audit_file"]
