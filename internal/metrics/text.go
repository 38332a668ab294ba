package metrics

import (
	"bufio"
	"io"
	"strconv"
	"strings"
)

// family says what a metric is.
type family struct{ name, kind, help string }

// families are all metrics, in the order of the page.
var families = []family{
	{"ikada_build_info", "gauge", "1; which ikada this is."},
	{"ikada_start_time_seconds", "gauge", "Since when ikada counts, in Unix time: at its start all counters begin at zero."},
	{"ikada_requests_total", "counter", "Requests that have ended, by class of status; none are TCP connections, and requests without an answer."},
	{"ikada_requests_failed_total", "counter", "Requests that failed, by kind; answer are tasks' own answers of 500 and above."},
	{"ikada_request_wait_seconds", "histogram", "How long clients waited for the first byte of an answer. The sum is right within a tenth."},
	{"ikada_request_retries_total", "counter", "Attempts to reach a task after the first."},
	{"ikada_received_bytes_total", "counter", "Bytes from clients."},
	{"ikada_sent_bytes_total", "counter", "Bytes to clients."},
	{"ikada_requests_in_flight", "gauge", "Requests that are held or answered now."},
	{"ikada_requests_held", "gauge", "Requests that wait for a task now."},
	{"ikada_route_requests_total", "counter", "Requests that have ended, by route and class of status."},
	{"ikada_tasks", "gauge", "Live tasks of a service, by release and state."},
	{"ikada_tasks_ready", "gauge", "Tasks of a service that serve."},
	{"ikada_tasks_wanted", "gauge", "Tasks of a service that are wanted."},
	{"ikada_task_failures_total", "counter", "Tasks that ended by their own fault, and are replaced, by cause; oom is killed for memory."},
	{"ikada_deployments_total", "counter", "Deployments that have ended, by outcome."},
	{"ikada_deployment_running", "gauge", "1 while a deployment runs."},
	{"ikada_release", "gauge", "Number of the committed release."},
	{"ikada_check_passing", "gauge", "1 where a check of the release on trial passed last, 0 where it failed; one that could not be answered is left out."},
}

// text gives labels as they stand behind a name.
func text(labels []label) string {
	if len(labels) == 0 {
		return ""
	}
	var b strings.Builder
	for i, l := range labels {
		b.WriteByte("{,"[min(i, 1)])
		b.WriteString(l.name)
		b.WriteString(`="`)
		b.WriteString(escaper.Replace(l.value))
		b.WriteByte('"')
	}
	b.WriteByte('}')
	return b.String()
}

var escaper = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)

// write writes series in the text format, version 0.0.4.
func write(w io.Writer, l ledger) error {
	out := bufio.NewWriter(w)
	byFamily := map[string][]*series{}
	for _, s := range l.sorted() {
		name := s.name
		for _, part := range []string{"_bucket", "_sum", "_count"} {
			if base, cut := strings.CutSuffix(name, part); cut && base == "ikada_request_wait_seconds" {
				name = base
			}
		}
		byFamily[name] = append(byFamily[name], s)
	}
	for _, f := range families {
		if len(byFamily[f.name]) == 0 {
			continue
		}
		_, _ = out.WriteString("# HELP " + f.name + " " + f.help + "\n# TYPE " + f.name + " " + f.kind + "\n")
		for _, s := range byFamily[f.name] {
			_, _ = out.WriteString(s.name + text(s.labels) + " " + strconv.FormatFloat(s.value, 'g', -1, 64) + "\n")
		}
	}
	return out.Flush()
}
