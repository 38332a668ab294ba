package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
)

func TestOpenAPIDocument(t *testing.T) {
	b := newBench(t)
	status, _, text := b.send(http.MethodGet, "/api/v1/openapi.json", "", "")
	if status != http.StatusOK {
		t.Fatal(status)
	}
	var doc struct {
		OpenAPI    string
		Servers    []struct{ URL string }
		Paths      map[string]map[string]operation
		Components struct{ Schemas map[string]any }
	}
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.1") || len(doc.Servers) != 1 || doc.Servers[0].URL != "/api/v1" {
		t.Errorf("head: %s %v", doc.OpenAPI, doc.Servers)
	}
	ids := map[string]string{}
	for path, item := range doc.Paths {
		for method, op := range item {
			place := method + " " + path
			if other, taken := ids[op.OperationID]; taken || op.OperationID == "" {
				t.Errorf("%s has the operation ID %q of %s", place, op.OperationID, other)
			}
			ids[op.OperationID] = place
			if op.Summary == "" || len(op.Tags) == 0 {
				t.Errorf("%s says nothing of itself", place)
			}
			if _, ok := op.Responses["default"].Content["application/problem+json"]; !ok {
				t.Errorf("%s does not describe its errors", place)
			}
			declared := map[string]bool{}
			for _, p := range op.Parameters {
				if p.In == "path" {
					declared[p.Name] = true
				}
			}
			for _, m := range regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(path, -1) {
				if !declared[m[1]] {
					t.Errorf("%s does not declare %s", place, m[1])
				}
			}
		}
	}
	for _, m := range regexp.MustCompile(`"\$ref":"#/components/schemas/([^"]+)"`).FindAllStringSubmatch(text, -1) {
		if doc.Components.Schemas[m[1]] == nil {
			t.Errorf("schema %s is referred to and missing", m[1])
		}
	}
	if strings.Contains(text, "ErrorModel") {
		t.Error("the framework's own errors are described")
	}
	// Every route of the code stands in the document, and every one of the document answers.
	source, err := os.ReadFile("routes.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`op\("([a-z-]+)",`).FindAllStringSubmatch(string(source), -1) {
		if ids[m[1]] == "" {
			t.Errorf("operation %s is not in the document", m[1])
		}
		delete(ids, m[1])
	}
	if len(ids) > 0 {
		t.Errorf("in the document alone: %v", ids)
	}
	for path := range doc.Paths {
		url := "/api/v1" + regexp.MustCompile(`\{\w+\}`).ReplaceAllString(path, "1")
		if status, p, _ := b.send(http.MethodPatch, url, "", ""); status != http.StatusMethodNotAllowed {
			t.Errorf("%s: %d %s: expected to be known, without PATCH", url, status, fmt.Sprint(p))
		}
	}
}

type operation struct {
	OperationID string
	Summary     string
	Tags        []string
	Parameters  []struct{ Name, In string }
	Responses   map[string]struct{ Content map[string]any }
}
