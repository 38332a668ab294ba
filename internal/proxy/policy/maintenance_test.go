package policy

import (
	"strings"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
)

func TestMaintenance(t *testing.T) {
	for _, c := range []struct {
		name              string
		page              api.Maintenance
		status            int
		contentType, wait string
		body              string // how it begins
	}{
		{"default", api.Maintenance{}, 503, htmlText, "", "<!doctype html>"},
		{"text", api.Maintenance{Body: "back at noon"}, 503, plainText, "", "back at noon"},
		{"html", api.Maintenance{Body: "\n <h1>Back at noon</h1>"}, 503, htmlText, "", "\n <h1>Back"},
		{"status", api.Maintenance{Status: 404, Body: "gone"}, 404, plainText, "", "gone"},
		{"retry", api.Maintenance{RetryAfter: api.Duration(90 * time.Second)}, 503, htmlText, "90", "<!doctype"},
		{"part of a second", api.Maintenance{RetryAfter: api.Duration(1001 * time.Millisecond)}, 503, htmlText, "2", "<!doctype"},
	} {
		p := compile(t, "/", api.RoutePolicy{Maintenance: &c.page}, nil)
		a := p.Admit(request(t, "GET /"), from("192.0.2.1"), time.Now())
		if a.status() != c.status || a.field("Content-Type") != c.contentType || a.field("Retry-After") != c.wait ||
			a.field("Cache-Control") != "no-store" || !strings.HasPrefix(string(a.Body), c.body) {
			t.Errorf("%s: %+v", c.name, a)
		}
	}
}
