"""One model per domain, fitted before any transfer: MF and implicit ALS."""
