package server_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/ikada/ikada/api"
)

// malformed is a request that must be refused with the status and an error that has the parts.
type malformed struct {
	method, path, body string
	status             int
	parts              []string
}

const (
	envURL    = "/api/v1/apps/shop/envs/production"
	deployURL = envURL + "/deployments"
)

// service wraps fields of a service in a deploy request.
func service(fields string) string {
	return `{"spec":{"app":"shop","env":"production","services":{"web":{"image":"i:1","replicas":1` + fields + `}}}}`
}

func malformedRequests() []malformed {
	const bad, many = http.StatusBadRequest, http.StatusUnprocessableEntity
	var list []malformed
	add := func(method, path, body string, status int, parts ...string) {
		list = append(list, malformed{method, path, body, status, parts})
	}
	deploy := func(body string, status int, parts ...string) { add("POST", deployURL, body, status, parts...) }
	field := func(fields string, parts ...string) { deploy(service(fields), many, parts...) }

	for _, body := range []string{"", " ", "{", "}", "[", `{"spec"`, `{"spec":}`, `{'spec':1}`, "nul", "\x00", "\xff\xfe", `{"spec":{}}x`, `{"a":"\ud800`} {
		deploy(body, bad, "body")
	}
	for _, body := range []string{"null", "1", `"text"`, "true", "[]", "[{}]"} {
		deploy(body, many, "body", "object")
	}
	deploy(`{}`, many, "spec", "it is missing")
	deploy(`{"spec":null}`, many, "spec")
	deploy(`{"spec":[]}`, many, "spec", "object")
	deploy(`{"spec":"x"}`, many, "spec", `"x"`, "object")
	deploy(`{"spec":{"app":"shop","env":"production"}}`, many, "spec.services", "missing")
	deploy(`{"spec":{"app":"shop","env":"production","services":null}}`, many, "spec.services")
	deploy(`{"spec":{"app":"shop","env":"production","services":{}}}`, many, "spec.services", "1 to 200")
	deploy(`{"spec":{"app":"shop","env":"production","services":[]}}`, many, "spec.services", "object")
	deploy(`{"spec":{"app":"shop","env":"production","services":{"web":null}}}`, many, "spec.services.web")
	deploy(`{"spec":{"app":"shop","env":"production","services":{"web":{}}}}`, many, "spec.services.web.replicas", "missing")
	deploy(`{"spec":{"app":"shop","env":"production","services":{"web":{"replicas":1}}}}`, many, "spec.services.web.image")
	deploy(`{"spec":{"app":"shop","env":"production","services":{"Web!":{"image":"i","replicas":1}}}}`, many, "spec.services.Web!", "lowercase")
	deploy(`{"spec":{"app":"shop","env":"production","services":{"":{"image":"i","replicas":1}}}}`, many, "services")
	deploy(strings.Replace(service(""), `"app":"shop"`, `"app":"other"`, 1), many, "spec.app", `"other"`, "shop")
	deploy(strings.Replace(service(""), `"env":"production"`, `"env":"dev"`, 1), many, "spec.env", `"dev"`)
	deploy(strings.Replace(service(""), `"app":"shop"`, `"app":7`, 1), many, "spec.app", "7", "string")
	deploy(strings.Replace(service(""), `{"spec"`, `{"force":"yes","spec"`, 1), many, "force", "yes", "boolean")
	deploy(strings.Replace(service(""), `{"spec"`, `{"commit":1,"spec"`, 1), many, "commit", "string")
	deploy(strings.Replace(service(""), `{"spec"`, `{"hurry":true,"spec"`, 1), many, "hurry", "no such field")
	deploy(strings.Replace(service(""), `{"spec"`, `{"specs":{},"spec"`, 1), many, "specs", "no such field")
	deploy(strings.Replace(service(""), `"replicas":1`, `"replicas":1e30`, 1), many, "spec.services.replicas", "1e30", "fits")
	field(`,"expose":[65536]`, "spec.services.web.expose[0]", "65536", "<= 65535")

	field(`,"colour":"red"`, "spec.services.web.colour", "no such field")
	for _, c := range []string{`"1"`, `1.5`, `null`, `true`, `[1]`, `{}`, `1e400`, `-1`, `1001`, `99999999999999999999`} {
		b := strings.Replace(service(""), `"replicas":1`, `"replicas":`+c, 1)
		status := many
		if c == `1e400` {
			status = bad // no number of Go's
		}
		deploy(b, status)
	}
	field(`,"pull":"sometimes"`, "spec.services.web.pull", "sometimes", "always")
	field(`,"command":"run me"`, "spec.services.web.command", "array")
	field(`,"command":[1]`, "spec.services.web.command[0]", "string")
	field(`,"env":["A=b"]`, "spec.services.web.env", "object")
	field(`,"env":{"A":1}`, "spec.services.web.env.A", "string")
	field(`,"env":{"A=B":"c"}`, "spec.services.web.env", "A=B")
	field(`,"workingDir":"relative"`, "workingDir", "relative", "absolute")
	field(`,"ports":[{"target":0}]`, "spec.services.web.ports[0].target", "1 to 65535")
	field(`,"ports":[{"target":70000}]`, "spec.services.web.ports[0]")
	field(`,"ports":[{"target":-1}]`, "spec.services.web.ports[0].target", "-1")
	field(`,"ports":[{"target":"80"}]`, "spec.services.web.ports[0].target", "80", "integer")
	field(`,"ports":[{}]`, "spec.services.web.ports[0].target", "missing")
	field(`,"ports":["8080:80"]`, "spec.services.web.ports[0]", "8080:80", "object")
	field(`,"ports":[{"target":80,"protocol":"udp"}]`, "ports[0].protocol", "udp")
	field(`,"ports":[{"target":80,"hostIP":"everywhere"}]`, "ports[0].hostIP", "everywhere")
	field(`,"ports":[{"target":80,"published":1},{"target":81,"published":1}]`, "ports[1]")
	field(`,"expose":["80"]`, "spec.services.web.expose[0]", "integer")
	field(`,"routes":[{"path":"api"}]`, "routes[0].path", "api")
	field(`,"routes":[{"host":"a b"}]`, "routes[0].host", "a b")
	field(`,"routes":[{"colour":"red"}]`, "spec.services.web.routes[0].colour", "no such field")
	field(`,"routes":[{"methods":"GET"}]`, "routes[0].methods", "array")
	field(`,"routes":[{"methods":["get"]}]`, "routes[0].methods[0]", "get", "capitals")
	field(`,"routes":[{"headers":["a"]}]`, "routes[0].headers", "object")
	field(`,"routes":[{"headers":{"a":""}}]`, "routes[0].headers.a", "printable")
	field(`,"routes":[{"rewrite":"api"}]`, "routes[0].rewrite", "api")
	field(`,"routes":[{"redirect":"https"}]`, "routes[0].redirect", "object")
	field(`,"routes":[{"redirect":{}}]`, "routes[0].redirect", "scheme, host and path")
	field(`,"routes":[{"redirect":{"host":"a b"}}]`, "routes[0].redirect.host", "a b")
	field(`,"routes":[{"redirect":{"path":"/a","status":200}}]`, "routes[0].redirect.status", "200", "308")
	field(`,"routes":[{"timeout":5}]`, "routes[0].timeout", "string")
	field(`,"routes":[{"idleTimeout":"-5s"}]`, "routes[0].idleTimeout", "-5s")
	field(`,"routes":[{"maxBody":"10mb"}]`, "routes[0].maxBody", "10mb", "integer")
	field(`,"routes":[{"maxBody":-1}]`, "routes[0].maxBody", "-1")
	field(`,"routes":[{"sticky":true}]`, "routes[0].sticky", "object")
	field(`,"routes":[{"sticky":{"cookie":"a=b"}}]`, "routes[0].sticky.cookie", "a=b")
	field(`,"routes":[{"rateLimit":{}}]`, "routes[0].rateLimit.requests", "missing")
	field(`,"routes":[{"rateLimit":{"requests":1,"by":"moon"}}]`, "routes[0].rateLimit.by", "moon", "client")
	field(`,"routes":[{"basicAuth":["ann:x"]}]`, "routes[0].basicAuth", "object")
	field(`,"routes":[{"basicAuth":{"ann":"x"}}]`, "routes[0].basicAuth.ann", "bcrypt")
	field(`,"routes":[{"maintenance":{"status":204}}]`, "routes[0].maintenance.status", "204")
	field(`,"routes":[{"maintenance":true}]`, "routes[0].maintenance", "object")
	field(`,"routes":[{"compress":"yes"}]`, "routes[0].compress", "boolean")
	field(`,"routes":[{"host":"a.com"},{"host":"A.com","path":"/","compress":true}]`, "routes[1]", "a.com/")
	field(`,"networks":[{"network":"nowhere"}]`, "networks[0]", "nowhere")
	field(`,"stopGrace":"10"`, "spec.services.web.stopGrace", `"10"`, "300ms")
	field(`,"stopGrace":10`, "spec.services.web.stopGrace", "string")
	field(`,"stopGrace":"soon"`, "spec.services.web.stopGrace", "soon")
	field(`,"stopGrace":"-1s"`, "stopGrace", "-1s")
	field(`,"stopGrace":"99999999999h"`, "99999999999h")
	field(`,"drain":""`, "drain")
	field(`,"stopSignal":"please"`, "stopSignal", "please")
	field(`,"health":{}`, "health")
	field(`,"health":{"command":["a"],"tcp":{}}`, "health")
	field(`,"health":{"http":{}}`, "spec.services.web.health.http.path", "missing")
	field(`,"health":{"http":"/up"}`, "spec.services.web.health.http", "object")
	field(`,"health":{"tcp":{},"interval":"often"}`, "health.interval", "often")
	field(`,"health":{"tcp":{},"retries":-1}`, "health.retries", "-1")
	field(`,"dependsOn":[{"service":"db","condition":"service_started"}]`, "dependsOn", "db")
	field(`,"dependsOn":[{"service":"web","condition":"service_started"}]`, "dependsOn")
	field(`,"dependsOn":["db"]`, "dependsOn[0]", "object")
	field(`,"update":{"parallelism":-1,"maxFailureRatio":0}`, "update.parallelism", "-1")
	field(`,"update":{"parallelism":1,"maxFailureRatio":2}`, "update.maxFailureRatio", "2")
	field(`,"update":{"parallelism":1,"maxFailureRatio":0,"order":"sideways"}`, "update.order", "sideways")
	field(`,"update":{"parallelism":1,"maxFailureRatio":0,"failureAction":"cry"}`, "update.failureAction", "cry")
	field(`,"update":{}`, "spec.services.web.update", "missing")
	field(`,"restart":{"condition":"perhaps"}`, "restart.condition", "perhaps")
	field(`,"restart":{"maxAttempts":-1}`, "restart.maxAttempts", "-1")
	field(`,"resources":{"memoryBytes":-5}`, "resources.memoryBytes")
	field(`,"resources":{"memoryBytes":1}`, "resources.memoryBytes")
	field(`,"resources":{"memory":"64M"}`, "resources.memory", "no such field")
	field(`,"resources":{"cpuMillis":"1"}`, "resources.cpuMillis", "integer")
	field(`,"mounts":[{"type":"volume","source":"data","target":"/d"}]`, "mounts[0]", "data")
	field(`,"mounts":[{"type":"cloud","target":"/d"}]`, "mounts[0].type", "cloud")
	field(`,"mounts":[{"type":"bind","source":"rel","target":"/d"}]`, "mounts[0].source", "rel")
	field(`,"mounts":[{"type":"tmpfs","target":"d"}]`, "mounts[0].target", "d")
	field(`,"secrets":[{"source":"nope","target":"/s"}]`, "secrets[0]", "nope")
	field(`,"configs":[{"source":"nope","target":"/c"}]`, "configs[0]", "nope")
	field(`,"capAdd":["everything please"]`, "capAdd")
	field(`,"sysctls":{"no":"1"}`, "sysctls", "no")
	field(`,"ulimits":{"nofile":{"soft":5,"hard":1}}`, "ulimits")
	field(`,"placement":{"constraints":["somewhere nice"]}`, "placement.constraints", "somewhere nice")
	deploy(strings.TrimSuffix(service(""), "}}")+`,"secrets":{"s":{}}}}`, many, "spec.secrets.s")
	deploy(strings.TrimSuffix(service(""), "}}")+`,"secrets":{"s":{"value":"not base64!"}}}}`, many, "spec.secrets.s.value", "base64")
	deploy(strings.TrimSuffix(service(""), "}}")+`,"secrets":{"s":{"value":5}}}}`, many, "spec.secrets.s.value", "string")
	deploy(strings.TrimSuffix(service(""), "}}")+`,"secrets":{"../s":{"value":"eA=="}}}}`, many, "secrets.../s")

	for _, name := range []string{"Shop", "a%2Fb", "-a", "a-", "a.b", "%00", "%20", "ä", strings.Repeat("a", 64), "a%0Ab"} {
		add("GET", "/api/v1/apps/"+name+"/envs/production", "", many, "app")
		add("POST", "/api/v1/apps/shop/envs/"+name+"/down", "", many, "env")
	}
	for _, n := range []string{"0", "-1", "x", "1.5", "99999999999999999999", "%20"} {
		add("GET", deployURL+"/"+n, "", many, "number")
		add("GET", envURL+"/releases/"+n, "", many, "number")
	}
	for path, parts := range map[string][]string{
		envURL + "/tasks?all=perhaps":   {"all", "perhaps"},
		envURL + "/tasks?every=1":       {"every"},
		envURL + "/logs?tail=x":         {"tail", "x"},
		envURL + "/logs?since=thursday": {"since", "thursday"},
		envURL + "/logs?follow=2":       {"follow"},
		"/api/v1/events?limit=-1":       {"limit", "-1"},
		"/api/v1/events?follow=maybe":   {"follow", "maybe"},
		"/api/v1/tasks/a.b":             {"id", "a.b"},
		"/api/v1/credentials/a%2Fb":     {"host", "a/b"},
	} {
		add("GET", path, "", many, parts...)
	}
	add("POST", envURL+"/rollback", `{"release":-1}`, many, "release", "-1")
	add("POST", envURL+"/rollback", `{"release":"v1"}`, many, "release", "v1", "integer")
	add("POST", envURL+"/restart", `{"services":"web"}`, many, "services", "web", "array")
	add("POST", envURL+"/scale", `{"web":"three"}`, many, "web", "three", "integer")
	add("POST", envURL+"/scale", `{"web":1.5}`, many, "web", "1.5", "integer")
	add("POST", envURL+"/scale", `[]`, many, "body", "object")
	add("POST", envURL+"/scale", ``, bad, "body")
	add("POST", "/api/v1/tokens", `{"name":"A B"}`, many, "name", "A B")
	add("POST", "/api/v1/tokens", `{"name":"a","expiresIn":"-1h"}`, many, "expiresIn", "-1h")
	add("POST", "/api/v1/tokens", `{"name":"a","expiresIn":3600}`, many, "expiresIn", "3600")
	add("POST", "/api/v1/tokens", `{}`, many, "name", "missing")
	add("PUT", "/api/v1/credentials/ghcr.io", `{"username":"a"}`, many, "password", "missing")
	add("PUT", "/api/v1/credentials/ghcr.io", `{"username":"","password":"b"}`, many, "username")
	add("PUT", "/api/v1/credentials/ghcr.io", `{"username":"a","password":["hunter2"]}`, many, "password", "string")
	add("POST", "/api/v1/builds", `{"app":"shop","env":"production","service":"","session":"s","spec":{"context":"."}}`, many, "service")
	add("POST", "/api/v1/builds", `{"app":"shop"}`, many, "missing")
	add("POST", "/api/v1/prune", `{"dryRun":"no"}`, many, "dryRun", "no")
	add("GET", "/api/v1/nothing", "", http.StatusNotFound, "/api/v1/nothing")
	add("GET", "/api/v2/apps", "", http.StatusNotFound, "/api/v2/apps")
	add("PUT", "/api/v1/apps", "", http.StatusMethodNotAllowed, "method", "PUT", "GET")
	add("DELETE", deployURL, "", http.StatusMethodNotAllowed, "DELETE", "GET or POST")
	return list
}

func TestMalformedRequestsChangeNothing(t *testing.T) {
	b := newBench(t)
	b.deployed(api.DeployRequest{Spec: spec()})
	before := b.dump()
	list := malformedRequests()
	if len(list) < 130 {
		t.Errorf("only %d requests", len(list))
	}
	for i, c := range list {
		t.Run(fmt.Sprintf("%03d", i), func(t *testing.T) {
			status, p, text := b.send(c.method, c.path, "application/json", c.body)
			if status != c.status || p.Status != status || p.Kind == "" || p.Detail == "" || p.Kind == api.Internal {
				t.Fatalf("%s %s %s\n got %d %s, expected a problem with status %d", c.method, c.path, c.body, status, text, c.status)
			}
			for _, part := range c.parts {
				if !strings.Contains(p.Detail, part) {
					t.Errorf("%s %s %s\n %q does not mention %q", c.method, c.path, c.body, p.Detail, part)
				}
			}
			if after := b.dump(); after != before {
				before = after
				t.Fatalf("%s %s %s changed the store", c.method, c.path, c.body)
			}
		})
	}
}

func TestOversizedBodyAndWrongContentType(t *testing.T) {
	b := newBench(t)
	before := b.dump()
	huge := `{"message":"` + strings.Repeat("x", 8<<20) + `"}`
	if status, p, _ := b.send("POST", deployURL, "application/json", huge); status != http.StatusRequestEntityTooLarge ||
		p.Kind != api.Invalid || !strings.Contains(p.Detail, "at most 8 MiB") {
		t.Errorf("huge body: %d %+v", status, p)
	}
	if status, p, _ := b.send("POST", deployURL, "text/yaml", "spec: {}"); status != http.StatusUnsupportedMediaType ||
		p.Field != "Content-Type" {
		t.Errorf("yaml: %d %+v", status, p)
	}
	deep := strings.Repeat(`{"spec":`, 20000) + "1" + strings.Repeat("}", 20000)
	if status, _, _ := b.send("POST", deployURL, "application/json", deep); status != http.StatusBadRequest {
		t.Errorf("deep body: %d", status)
	}
	if b.dump() != before {
		t.Error("something was written")
	}
}

func TestErrorsNeverRepeatSecrets(t *testing.T) {
	b := newBench(t)
	for _, c := range [][3]string{
		{"POST", deployURL, strings.TrimSuffix(service(""), "}}") + `,"secrets":{"s":{"value":"hunter2 is not base64"}}}}`},
		{"POST", deployURL, strings.TrimSuffix(service(""), "}}") + `,"secrets":{"s":"hunter2"}}}`},
		{"POST", deployURL, `{"spec":"hunter2`},
		{"POST", deployURL, service(`,"env":{"A":["hunter2"]}`)},
		{"POST", deployURL, service(`,"routes":[{"basicAuth":"hunter2"}]`)},
		{"POST", deployURL, service(`,"routes":[{"basicAuth":{"ann":"hunter2"}}]`)},
		{"POST", deployURL, service(`,"routes":[{"basicAuth":{"ann:hunter2":""}}]`)},
		{"POST", deployURL, service(`,"routes":[{"basicAuth":{"ann":["hunter2"]}}]`)},
		{"PUT", "/api/v1/credentials/ghcr.io", `{"username":"a","password":"hunter2","more":1}`},
		{"PUT", "/api/v1/credentials/ghcr.io", `{"username":"a","password":{"x":"hunter2"}}`},
		{"PUT", "/api/v1/credentials/ghcr.io", `["hunter2"]`},
	} {
		if status, _, text := b.send(c[0], c[1], "application/json", c[2]); status < 400 || strings.Contains(text, "hunter2") {
			t.Errorf("%s: %d %s", c[2], status, text)
		}
	}
	if strings.Contains(b.log.String(), "hunter2") {
		t.Error("a secret stands in the log")
	}
}
