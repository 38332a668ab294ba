package containerd

import (
	"bytes"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/platforms"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/agent"
	"github.com/ikada/ikada/internal/runtime/runtimetest"
)

// newRegistry serves a registry on loopback that wants the user and password, if there is one.
func newRegistry(t *testing.T, user, password string) (host string, stop func()) {
	t.Helper()
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, p, _ := r.BasicAuth(); user != "" && (u != user || p != password) {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://"), srv.Close
}

func push(t *testing.T, ref string, img v1.Image, opts ...remote.Option) string {
	t.Helper()
	r, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(r, img, opts...); err != nil {
		t.Fatal(err)
	}
	d, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d.String()
}

func wantKind(t *testing.T, err error, kind api.Kind) {
	t.Helper()
	if !api.IsKind(err, kind) {
		t.Errorf("error is %v (%s), want kind %s", err, api.KindOf(err), kind)
	}
}

func TestPull(t *testing.T) {
	in := newInstance(t, nil)
	images := in.runtime.Images()
	host, stop := newRegistry(t, "", "")
	tag := host + "/team/app:1"
	old := push(t, tag, runtimetest.Busybox(t, func(c *v1.Config) { c.Env, c.Cmd = []string{"PATH=/bin", "V=1"}, []string{"env"} }))

	_, err := images.Resolve(t.Context(), tag, PullNever)
	wantKind(t, err, api.NotFound)
	_, err = images.Resolve(t.Context(), host+"/team/none:1", "")
	wantKind(t, err, api.NotFound)
	_, err = images.Resolve(t.Context(), "Not A Reference", "")
	wantKind(t, err, api.Invalid)
	_, err = images.Resolve(t.Context(), tag, "sometimes")
	wantKind(t, err, api.Invalid)

	ref, err := images.Resolve(t.Context(), tag, "")
	if err != nil || ref != host+"/team/app@"+old {
		t.Fatalf("resolve gives %s, %v", ref, err)
	}
	config, err := images.Config(t.Context(), ref)
	if err != nil || !reflect.DeepEqual(config.Command, []string{"env"}) {
		t.Fatalf("configuration of an image that is not here: %+v, %v", config, err)
	}
	var done, total int64
	if err := in.runtime.Pull(t.Context(), ref, func(d, n int64) { done, total = d, n }); err != nil {
		t.Fatal(err)
	}
	if done != total || total == 0 {
		t.Errorf("progress ends with %d of %d", done, total)
	}
	exits := in.runtime.Exits(t.Context())
	runtimetest.CreateWith(t, in.subject(), agent.Container{ID: "c", Image: ref})
	runtimetest.WaitExit(t, exits, "c")
	var env []string
	for _, rec := range runtimetest.ReadLog(t, in.runtime, "c", agent.LogQuery{Tail: -1}) {
		env = append(env, rec.Text)
	}
	if !slices.Contains(env, "V=1") {
		t.Errorf("environment is %v", env)
	}

	moved := push(t, tag, runtimetest.Busybox(t, func(c *v1.Config) { c.Env = []string{"V=2"} }))
	for policy, want := range map[string]string{"": old, PullMissing: old, PullNever: old} {
		if got, err := images.Resolve(t.Context(), tag, policy); err != nil || !strings.HasSuffix(got, want) {
			t.Errorf("policy %q gives %s, %v; want %s", policy, got, err, want)
		}
	}
	if got, err := images.Resolve(t.Context(), tag, PullAlways); err != nil || !strings.HasSuffix(got, moved) {
		t.Errorf("policy always gives %s, %v; want %s", got, err, moved)
	}
	stop()
	if err := in.runtime.Pull(t.Context(), ref, nil); err != nil {
		t.Errorf("an image that is here needs its registry: %v", err)
	}
	_, err = images.Resolve(t.Context(), tag, PullAlways)
	wantKind(t, err, api.Unavailable)
}

func TestCredentialsAndMirrors(t *testing.T) {
	in := newInstance(t, nil)
	private, _ := newRegistry(t, "me", "secret")
	img := runtimetest.Busybox(t, nil)
	digest := push(t, private+"/library/box:2", img, remote.WithAuth(&authn.Basic{Username: "me", Password: "secret"}))

	_, err := in.runtime.Images().Resolve(t.Context(), private+"/library/box:2", "")
	wantKind(t, err, api.Unauthorized)

	cfg := in.cfg
	cfg.Mirrors = map[string][]string{"docker.io": {"http://" + private}}
	var asked []string
	cfg.Credentials = func(host string) (string, string, error) {
		asked = append(asked, host)
		return "me", "secret", nil
	}
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ref, err := r.Images().Resolve(t.Context(), "box:2", "")
	if err != nil || ref != "docker.io/library/box@"+digest {
		t.Fatalf("resolve through a mirror gives %s, %v", ref, err)
	}
	if err := r.Pull(t.Context(), ref, nil); err != nil {
		t.Fatal(err)
	}
	if len(asked) == 0 || asked[0] != private {
		t.Errorf("credentials were asked for %v", asked)
	}
}

// TestLoginCountsAtOnce: a login that was used is not used any more once it is forgotten.
func TestLoginCountsAtOnce(t *testing.T) {
	host, _ := newRegistry(t, "me", "secret")
	tag := host + "/team/app:1"
	push(t, tag, runtimetest.Busybox(t, nil), remote.WithAuth(&authn.Basic{Username: "me", Password: "secret"}))
	password := "secret"
	h := newHosts(Config{Credentials: func(string) (string, string, error) { return "me", password, nil }})
	if _, _, err := h.resolver().Resolve(t.Context(), tag); err != nil {
		t.Fatal(err)
	}
	password = ""
	_, _, err := h.resolver().Resolve(t.Context(), tag)
	wantKind(t, convert(err, "resolve image"), api.Unauthorized)
}

// TestResolveRenews: what a release is about to name looks new to who removes old images, since nothing could bring it
// back.
func TestResolveRenews(t *testing.T) {
	in := newInstance(t, nil)
	changed := func() time.Time {
		img, err := in.runtime.Client().ImageService().Get(inNamespace(t.Context()), in.image)
		if err != nil {
			t.Fatal(err)
		}
		return img.UpdatedAt
	}
	for _, ref := range []string{"ikada.local/test/busybox:1", in.image} {
		before := changed()
		if got, err := in.runtime.Images().Resolve(t.Context(), ref, ""); err != nil || got != in.image {
			t.Fatalf("%s is %s, %v; want %s", ref, got, err, in.image)
		}
		if after := changed(); !after.After(before) {
			t.Errorf("resolving %s leaves it as old as it was: %s, then %s", ref, before, after)
		}
	}
}

func TestRemovedImageIsCollected(t *testing.T) {
	in := newInstance(t, nil)
	images := in.runtime.Images()
	list, err := images.List(t.Context())
	if err != nil || len(list) != 2 { // the tag that was imported, and its canonical name
		t.Fatalf("list gives %+v, %v", list, err)
	}
	runtimetest.Create(t, in.subject(), "uses", in.subject().Sleep())
	for _, img := range list {
		for range 2 {
			if err := images.Remove(t.Context(), img.Name); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := images.Collect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, err := in.blobs(t); err != nil || n != 0 {
		t.Fatalf("%d blobs are left, %v", n, err)
	}
	states, err := in.runtime.List(t.Context())
	if err != nil || len(states) != 1 || !states[0].Running {
		t.Fatalf("the container of a removed image: %+v, %v", states, err)
	}
	if code, err := in.runtime.Exec(t.Context(), "uses", agent.Exec{Args: []string{"true"}}); err != nil || code != 0 {
		t.Errorf("its file system is broken: %d, %v", code, err)
	}
	wantKind(t, in.runtime.Pull(t.Context(), in.image, nil), api.NotFound)
}

// TestOtherPlatforms: an image in the store that is for other machines is not called missing.
func TestOtherPlatforms(t *testing.T) {
	store, err := local.NewStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	other := ocispec.Platform{OS: "linux", Architecture: "s390x"}
	for want, of := range map[string][]ocispec.Platform{
		"": {other, platforms.DefaultSpec()},
		"it is for linux/s390x, linux/ppc64le, and this node is " + platforms.DefaultString(): {other, {OS: "linux", Architecture: "ppc64le"}},
	} {
		index := ocispec.Index{MediaType: ocispec.MediaTypeImageIndex}
		for _, p := range of {
			index.Manifests = append(index.Manifests, ocispec.Descriptor{
				MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString(platforms.Format(p)), Size: 1, Platform: &p,
			})
		}
		b, err := json.Marshal(index)
		if err != nil {
			t.Fatal(err)
		}
		target := ocispec.Descriptor{MediaType: index.MediaType, Digest: digest.FromBytes(b), Size: int64(len(b))}
		if err := content.WriteBlob(t.Context(), store, target.Digest.String(), bytes.NewReader(b), target); err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := otherPlatforms(t.Context(), store, target); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("an image for %v: %q, want %q", of, got, want)
		}
	}
}

func TestParseConfig(t *testing.T) {
	got, err := parseConfig([]byte(`{"rootfs":{"diff_ids":["sha256:00"]},"config":{"User":"web","ExposedPorts":{"443/tcp":{},"53/udp":{},"80":{}},"Volumes":{"/b":{},"/a":{}},
		"Shell":["/bin/bash","-c"],"StopSignal":"SIGINT",
		"Healthcheck":{"Test":["CMD-SHELL","curl -f localhost || exit 1"],"Interval":5000000000,"Retries":2}}}`))
	if err != nil {
		t.Fatal(err)
	}
	want := api.ImageConfig{
		User: "web", StopSignal: "SIGINT", Expose: []uint16{80, 443}, Volumes: []string{"/a", "/b"},
		Health: &api.HealthSpec{Command: []string{"/bin/bash", "-c", "curl -f localhost || exit 1"}, Interval: api.Duration(5 * time.Second), Retries: 2},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	if got, err = parseConfig([]byte(`{"rootfs":{"diff_ids":["sha256:00"]},"config":{"Healthcheck":{"Test":["NONE"]}}}`)); err != nil || got.Health == nil || !got.Health.Disabled {
		t.Errorf("a disabled check is %+v, %v", got.Health, err)
	}
	_, err = parseConfig([]byte(`{}`)) // what artifacts have
	wantKind(t, err, api.Invalid)
}
