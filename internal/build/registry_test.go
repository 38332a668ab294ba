package build

import (
	"encoding/base64"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/build/session"
)

// closedRegistry is a registry that lets only user "me" with password "pw" in. It holds one image under repo:1.
func closedRegistry(t *testing.T, repo string) (host string, refused *atomic.Int64) {
	t.Helper()
	refused = new(atomic.Int64)
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, pw, _ := r.BasicAuth(); user != "me" || pw != "pw" {
			refused.Add(1)
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	host = strings.TrimPrefix(srv.URL, "http://")
	img, err := random.Image(1<<10, 1)
	if err != nil {
		t.Fatal(err)
	}
	img, err = mutate.ConfigFile(img, &v1.ConfigFile{OS: "linux", Architecture: runtime.GOARCH, RootFS: rootFS(t, img)})
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(host + "/" + repo + ":1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img, remote.WithAuth(&authn.Basic{Username: "me", Password: "pw"})); err != nil {
		t.Fatal(err)
	}
	refused.Store(0)
	return host, refused
}

func rootFS(t *testing.T, img v1.Image) v1.RootFS {
	t.Helper()
	c, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	return c.RootFS
}

func TestMirrorWithTheClustersLogin(t *testing.T) {
	host, refused := closedRegistry(t, "library/mirrored")
	r := newRig(t, func(c *Config) {
		c.Mirrors = func(h string) []string {
			if h == "docker.io" {
				return []string{"http://" + host}
			}
			return nil
		}
		c.Credentials = func(h string) (string, string, error) {
			if h == host {
				return "me", "pw", nil
			}
			return "", "", nil
		}
	})
	dir := write(t, map[string]string{"Dockerfile": "FROM mirrored:1\nCOPY f /f\n", "f": "x"})
	if got := r.file(t, r.build(t, dir, api.BuildSpec{}).ok(t), "f"); got != "x" {
		t.Errorf("f = %q", got)
	}
	if refused.Load() == 0 {
		t.Error("the login was sent before the registry asked for it")
	}
}

// TestLoginCountsAtOnce: what BuildKit keeps goes by the login of the moment, not by that of its first request.
func TestLoginCountsAtOnce(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch user, _, _ := r.BasicAuth(); user {
		case "":
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
		case "stranger":
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	defer srv.Close()
	user := ""
	b := &Builder{cfg: Config{
		Transport:   http.DefaultTransport,
		Credentials: func(string) (string, string, error) { return user, user, nil },
	}}
	c := b.registryClient("test")
	for _, step := range []struct {
		user string
		want int
	}{{"", http.StatusUnauthorized}, {"stranger", http.StatusForbidden}, {"me", http.StatusOK}, {"", http.StatusUnauthorized}} {
		user = step.user
		res, err := c.Get(srv.URL + "/v2/a/manifests/1")
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != step.want {
			t.Errorf("as %q: %s, want %d", user, res.Status, step.want)
		}
	}
}

func TestLoginFromTheClientsDockerConfig(t *testing.T) {
	host, _ := closedRegistry(t, "team/private")
	r := newRig(t, nil)
	dir := write(t, map[string]string{"Dockerfile": "FROM " + host + "/team/private:1\nCOPY f /f\n", "f": "x"})
	build := func(docker string) error {
		s, err := session.Open(t.Context(), r.dial, session.Options{Context: dir, DockerConfig: docker})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		_, err = r.Build(t.Context(), api.BuildRequest{EnvRef: api.EnvRef{App: "a", Env: "e"}, Service: "s", Session: s.ID()}, nil)
		return err
	}
	if err := build(t.TempDir()); !api.IsKind(err, api.Unauthorized) || !strings.HasPrefix(err.Error(), "build: Dockerfile line 1") {
		t.Errorf("with no login: %s: %v", api.KindOf(err), err)
	}
	docker := t.TempDir()
	auth := base64.StdEncoding.EncodeToString([]byte("me:pw"))
	if err := os.WriteFile(filepath.Join(docker, "config.json"), []byte(`{"auths":{"`+host+`":{"auth":"`+auth+`"}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := build(docker); err != nil {
		t.Errorf("with a login: %v", err)
	}
}

func TestSplitPull(t *testing.T) {
	for path, want := range map[string][3]string{
		"/v2/a/manifests/1":            {"a", "manifests", "1"},
		"/v2/a/b/c/blobs/sha256:0":     {"a/b/c", "blobs", "sha256:0"},
		"/v2/manifests/manifests/blob": {"manifests", "manifests", "blob"},
	} {
		repo, kind, ref, ok := splitPull(path)
		if got := [3]string{repo, kind, ref}; !ok || got != want {
			t.Errorf("splitPull(%q) = %v, %v", path, got, ok)
		}
	}
	for _, path := range []string{"/v2/", "/v2/a/tags/list", "/v2//manifests/1", "/v1/a/manifests/1", ""} {
		if _, _, _, ok := splitPull(path); ok {
			t.Errorf("splitPull(%q) is ok", path)
		}
	}
}
