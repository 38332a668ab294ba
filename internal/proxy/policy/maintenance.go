package policy

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/ikada/ikada/api"
)

// defaultPage stands on its own: what it would load could be down for the same reason.
const defaultPage = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Down for maintenance</title>
<style>
  body { font: 1.1rem/1.5 system-ui, sans-serif; max-width: 32rem; margin: 20vh auto; padding: 0 1rem; color: #222 }
  @media (prefers-color-scheme: dark) { body { background: #181818; color: #ddd } }
</style>
<h1>Down for maintenance</h1>
<p>We are working on it and will be back soon. Please try again in a while.</p>
</html>
`

// compilePage makes the answer that stands for a service in maintenance, nil when it is not.
func compilePage(m *api.Maintenance) (*Answer, error) {
	if m == nil {
		return nil, nil // no maintenance is no error
	}
	status := m.Status
	switch {
	case status == 0:
		status = http.StatusServiceUnavailable
	case status < 200 || status > 599,
		status == http.StatusNoContent, status == http.StatusResetContent, status == http.StatusNotModified:
		return nil, api.FieldError("maintenance.status", strconv.Itoa(status), "a status from 200 to 599 that has a body")
	}
	if m.RetryAfter < 0 {
		return nil, api.FieldError("maintenance.retryAfter", m.RetryAfter.String(), "a duration of 0 or more")
	}
	body, contentType := m.Body, plainText
	if strings.TrimSpace(body) == "" {
		body = defaultPage
	}
	if strings.HasPrefix(strings.TrimSpace(body), "<") {
		contentType = htmlText
	}
	a := &Answer{
		Status: status,
		Fields: [][2]string{{"Content-Type", contentType}, {"Cache-Control", "no-store"}},
		Body:   []byte(body),

		Maintenance: true,
	}
	if m.RetryAfter > 0 {
		a.Fields = append(a.Fields, retryAfter(m.RetryAfter.Std()))
	}
	return a, nil
}
