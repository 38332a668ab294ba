package compose

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/ikada/ikada/api"
)

// FuzzLoad feeds whole files. Whatever they hold, Load ends with a valid spec or with an error of kind Invalid.
func FuzzLoad(f *testing.F) {
	for _, c := range malformedCases(f) {
		f.Add(c[1])
	}
	apps, err := filepath.Glob("testdata/apps/*/compose.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, app := range apps {
		text, err := os.ReadFile(app)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Load(t.Context(), Options{Dir: tree(t, "shop", map[string]string{"compose.yaml": text})})
		if err != nil {
			if !api.IsKind(err, api.Invalid) || err.Error() == "" {
				t.Fatalf("kind %s: %v", api.KindOf(err), err)
			}
			return
		}
		for name := range p.Builds {
			s := p.Spec.Services[name]
			s.Image = "built"
			p.Spec.Services[name] = s
		}
		if err := p.Spec.Validate(); err != nil {
			t.Fatalf("loaded, but not valid: %v", err)
		}
		if _, err := json.Marshal(p.Spec); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzExtension feeds only the value of x-ikada, past compose-go.
func FuzzExtension(f *testing.F) {
	for _, text := range []string{
		"{route: example.com/api, health: {http: /healthz}, strategy: {drain: 5s}, exclusive: true}",
		"{route: [{host: '*.a.b', path: /x, port: 80}, /y], health: {tcp: 5432, interval: 1s}}",
		"{route: {host: a.b, methods: [get], headers: {a: '*'}, strip: true, redirect: https, timeout: 1s, max_body: 10mb, sticky: true}}",
		"{route: {rewrite: /, redirect: 'http://[::1]:80/%20', rate_limit: 1/s, basic_auth: ['a:b'], maintenance: {status: 500}, compress: true}}",
		"{route: {redirect: {scheme: http, status: 301}, sticky: {max_age: 1h}, rate_limit: {requests: 1, by: route}, basic_auth: {a: b}}}",
		"{health: {command: [a, b], retries: 3}}", "[]", "~", "{route: {}}",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var raw any
		if yaml.Unmarshal([]byte(text), &raw) != nil {
			return
		}
		var errs []error
		v := value{extensionKey, raw, &errs}
		fields := v.fields(serviceKeys, laterKeys)
		var s api.ServiceSpec
		for key, f := range fields {
			switch key {
			case "route":
				s.Routes = f.routes()
			case "health":
				s.Health = f.health()
			case "strategy":
				f.strategy(&s)
			case "exclusive":
				s.Exclusive = f.boolean()
			}
		}
		for _, err := range errs {
			if !api.IsKind(err, api.Invalid) {
				t.Fatalf("kind %s: %v", api.KindOf(err), err)
			}
		}
	})
}
