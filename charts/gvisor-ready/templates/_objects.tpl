{{/*
Prints the objects of a file of manifests/, which `npm run chart` copies to files/. Parameters:
  root    the root of the chart
  file    the path of the file below files/
  labels  labels for every object; optional
  change  the name of a template that changes an object before it is printed, with these parameters and `object`; optional
*/}}
{{- define "gvisor-ready.objects" -}}
{{- $text := .root.Files.Get (printf "files/%s" .file) | required (printf "The chart has no files/%s: run `npm run chart` in the repository." .file) }}
{{- range $document := regexSplit "(?m)^---$" (include "gvisor-ready.in-namespace" (dict "root" .root "text" $text)) -1 }}
{{- $object := fromYaml $document }}
{{- $own := dict "helm.sh/chart" (printf "%s-%s" $.root.Chart.Name $.root.Chart.Version) "app.kubernetes.io/managed-by" $.root.Release.Service }}
{{- $_ := set $object.metadata "labels" (merge $own ($.labels | default dict) ($object.metadata.labels | default dict)) }}
{{- with $.change }}{{ $_ := include . (merge (dict "object" $object) $) }}{{ end }}
{{- if $object.kind }}
---
{{ toYaml $object }}
{{- end }}
{{- end }}
{{- end }}

{{/* A manifest for the release's namespace: in fields, in expressions of policies and in PromQL. */}}
{{- define "gvisor-ready.in-namespace" -}}
{{- $named := "(namespace: |namespace=\"|!= '|variables.name == ')gvisor-ready([\"'\\s,}])" }}
{{- regexReplaceAll $named .text (printf "${1}%s${2}" .root.Release.Namespace) }}
{{- end }}

{{/* The label that kustomize adds to the objects of the base. */}}
{{- define "gvisor-ready.name" -}}
app.kubernetes.io/name: gvisor-ready
{{- end }}

{{- define "gvisor-ready.image" -}}
{{- $image := .Values.image }}
{{- $version := print ":" ($image.tag | default .Chart.AppVersion) }}
{{- include "gvisor-ready.in-registry" (dict "root" . "image" (print $image.repository (empty $image.digest | ternary $version (print "@" $image.digest)))) }}
{{- end }}

{{/* An image, in global.imageRegistry instead of its own registry if that is set. */}}
{{- define "gvisor-ready.in-registry" -}}
{{- with (.root.Values.global).imageRegistry }}{{ . }}/{{ regexReplaceAll "^(localhost|[^/]*[.:][^/]*)/" $.image "" }}{{ else }}{{ .image }}{{ end }}
{{- end }}

{{/* The pull secrets of the release and those of `global`, as JSON. */}}
{{- define "gvisor-ready.pull-secrets" -}}
{{- $secrets := .Values.imagePullSecrets }}
{{- range (.Values.global).imagePullSecrets }}{{ $secrets = append $secrets (kindIs "string" . | ternary (dict "name" .) .) }}{{ end }}
{{- $secrets | toJson }}
{{- end }}

{{/* The handlers that are proven beside the main one, as JSON. */}}
{{- define "gvisor-ready.additional-handlers" -}}
{{- rest (splitList "," .Values.settings.HANDLERS) | toJson }}
{{- end }}

{{/* Applies the values common to all pods: `pod` is the spec, `from` the values of its component. */}}
{{- define "gvisor-ready.pod" -}}
{{- $container := index .pod.containers 0 }}
{{- $_ := set $container "image" (include "gvisor-ready.image" .root) }}
{{- $_ := set $container "imagePullPolicy" .root.Values.image.pullPolicy }}
{{- with .from.resources }}{{ $_ := set $container "resources" . }}{{ end }}
{{- range $field, $value := dict "imagePullSecrets" (include "gvisor-ready.pull-secrets" .root | fromJsonArray) "nodeSelector" .from.nodeSelector "affinity" .from.affinity "priorityClassName" .from.priorityClassName }}
{{- if $value }}{{ $_ := set $.pod $field $value }}{{ else }}{{ $_ := unset $.pod $field }}{{ end }}
{{- end }}
{{- end }}

{{/* Applies the values of a component to its DaemonSet or Deployment: `object`, `from`. */}}
{{- define "gvisor-ready.workload" -}}
{{- $template := .object.spec.template }}
{{- $container := index $template.spec.containers 0 }}
{{- include "gvisor-ready.pod" (dict "root" .root "pod" $template.spec "from" .from) }}
{{- $_ := merge $template.metadata.labels .from.podLabels }}
{{- with .from.podAnnotations }}{{ $_ := set $template.metadata "annotations" . }}{{ end }}
{{- with .from.annotations }}{{ $_ := set $.object.metadata "annotations" (merge . ($.object.metadata.annotations | default dict)) }}{{ end }}
{{- with .from.extraEnv }}{{ $_ := set $container "env" (concat ($container.env | default list) .) }}{{ end }}
{{- include "gvisor-ready.service-account" . }}
{{- end }}

{{/* Applies the values `from.serviceAccount` to an object that names the account. */}}
{{- define "gvisor-ready.service-account" -}}
{{- $account := .from.serviceAccount }}
{{- if eq .object.kind "ServiceAccount" }}
{{- with $account.annotations }}{{ $_ := set $.object.metadata "annotations" . }}{{ end }}
{{- with $account.name }}{{ $_ := set $.object.metadata "name" . }}{{ end }}
{{- if not $account.create }}{{ $_ := unset .object "kind" }}{{ end }}
{{- else if $account.name }}
{{- $spec := .object.spec | default dict }}
{{- range .object.subjects }}{{ $_ := set . "name" $account.name }}{{ end }}
{{- range $spec.rules }}{{ range .subjects }}{{ $_ := set .serviceAccount "name" $account.name }}{{ end }}{{ end }}
{{- with $spec.template }}{{ $_ := set .spec "serviceAccountName" $account.name }}{{ end }}
{{- range $spec.matchConditions }}
{{- $_ := set . "expression" (printf "request.userInfo.username == 'system:serviceaccount:%s:%s'" $.root.Release.Namespace $account.name) }}
{{- end }}
{{- end }}
{{- end }}

{{/* Adds non-empty settings to the environment of a pod's container. */}}
{{- define "gvisor-ready.settings" -}}
{{- $container := index .pod.containers 0 }}
{{- range $name, $value := .settings }}
{{- if kindIs "bool" $value }}{{ $value = ternary "on" "off" $value }}{{ end }}
{{- if $value }}{{ $_ := set $container "env" (append ($container.env | default list) (dict "name" $name "value" $value)) }}{{ end }}
{{- end }}
{{- end }}

{{/* Sets the expression of a variable of a policy. */}}
{{- define "gvisor-ready.variable" -}}
{{- $found := false }}
{{- range .policy.spec.variables }}
{{- if eq .name $.name }}{{ $found = true }}{{ $_ := set . "expression" $.expression }}{{ end }}
{{- end }}
{{- if not $found }}{{ fail (printf "%s has no variable %s" .policy.metadata.name .name) }}{{ end }}
{{- end }}

{{/* Sets the ports of the API server in a policy. */}}
{{- define "gvisor-ready.api-server-ports" }}
{{- $ports := list }}
{{- range .root.Values.networkPolicy.apiServerPorts }}{{ $ports = append $ports (dict "protocol" "TCP" "port" .) }}{{ end }}
{{- $_ := set (index .object.spec.egress 0) "ports" $ports }}
{{- end }}
