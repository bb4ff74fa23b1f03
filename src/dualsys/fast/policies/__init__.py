"""System 1 policies: the protocol, and the runtime that serves exported bundles."""
