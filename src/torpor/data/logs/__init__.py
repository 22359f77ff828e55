"""Logs of requests, with or without their texts: chat requests, spans of OpenTelemetry, traces of serving tools."""
