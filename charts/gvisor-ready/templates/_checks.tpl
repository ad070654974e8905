{{/* Fails with an explanation for conflicting values. */}}
{{- define "gvisor-ready.checks" -}}
{{- with .Values.enforce }}
{{- if and (or .audit .inject .bindings) (not .enabled) }}
{{- fail "enforce.audit, enforce.bindings and enforce.inject need enforce.enabled=true: they change what it does." }}
{{- end }}
{{- end }}
{{- $additional := include "gvisor-ready.additional-handlers" . | fromJsonArray }}
{{- range $handler := keys .Values.runtimeClass.additional | sortAlpha }}
{{- if not (has $handler $additional) }}
{{- fail (printf "runtimeClass.additional names the handler %q, which settings.HANDLERS (%q) does not name after its first." $handler $.Values.settings.HANDLERS) }}
{{- end }}
{{- end }}
{{- end }}
