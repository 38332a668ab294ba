package session

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/ikada/ikada/api"
)

func never(context.Context, string, map[string][]string) (net.Conn, error) {
	return nil, api.Errorf(api.Unavailable, "must not be dialled")
}

func TestOpenNamesWhatIsMissing(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "f")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	inline := "FROM scratch"
	for field, o := range map[string]Options{
		"build.context":                 {Context: filepath.Join(dir, "gone"), DockerfileInline: inline},
		"build.dockerfile":              {Context: dir},
		"build.additional_contexts.lib": {Context: dir, DockerfileInline: inline, Contexts: map[string]string{"lib": file}},
		"build.secrets.a":               {Context: dir, DockerfileInline: inline, Secrets: map[string]string{"a": "file:" + dir + "/none"}},
		"build.secrets.b":               {Context: dir, DockerfileInline: inline, Secrets: map[string]string{"b": "env:IKADA_NOT_SET"}},
		"build.secrets.c":               {Context: dir, DockerfileInline: inline, Secrets: map[string]string{"c": "keychain:x"}},
		"build.ssh":                     {Context: dir, DockerfileInline: inline, SSH: []string{"default=" + dir + "/none"}},
	} {
		o.DockerConfig = t.TempDir()
		if _, err := Open(t.Context(), never, o); !api.IsKind(err, api.Invalid) || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: got %s: %v", field, api.KindOf(err), err)
		}
	}
	_, err := Open(t.Context(), never, Options{Context: dir, DockerfileInline: inline, NoCredentials: true})
	if !api.IsKind(err, api.Unavailable) {
		t.Errorf("dial error: %v", err)
	}
}

func TestFromSpec(t *testing.T) {
	got := FromSpec(api.BuildSpec{
		Context:  "src",
		Contexts: map[string]string{"lib": "../lib", "base": "docker-image://alpine", "own": "service:web", "abs": "/x"},
		Secrets:  map[string]string{"f": "file:tok", "e": "env:TOK"},
	}, "/app")
	want := Options{
		Context:  "/app/src",
		Contexts: map[string]string{"lib": "/lib", "base": "docker-image://alpine", "own": "service:web", "abs": "/x"},
		Secrets:  map[string]string{"f": "file:/app/tok", "e": "env:TOK"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	if o := FromSpec(api.BuildSpec{}, "/app"); o.Context != "/app" {
		t.Errorf("no context gave %q", o.Context)
	}
}

func TestIsRemote(t *testing.T) {
	for location, remote := range map[string]bool{"https://example.com/r.git": true, "git@example.com:r": true, ".": false, "/abs": false, "docker-image://a": false} {
		if IsRemote(location) != remote {
			t.Errorf("IsRemote(%q) = %v", location, !remote)
		}
	}
}
