package registry

import (
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

func TestParsePath(t *testing.T) {
	d := digest.FromString("x")
	for path, want := range map[string]route{
		"/v2":                              {kind: resourceBase},
		"/v2/":                             {kind: resourceBase},
		"/v2/_catalog":                     {kind: resourceCatalog},
		"/v2/a/tags/list":                  {kind: resourceTags, repo: "a"},
		"/v2/a/b/tags/list":                {kind: resourceTags, repo: "a/b"},
		"/v2/tags/list/tags/list":          {kind: resourceTags, repo: "tags/list"},
		"/v2/blobs/uploads/blobs/uploads/": {kind: resourceUploads, repo: "blobs/uploads"},
		"/v2/a/blobs/uploads":              {kind: resourceUploads, repo: "a"},
		"/v2/a/blobs/uploads/id":           {kind: resourceUpload, repo: "a", upload: "id"},
		"/v2/manifests/manifests/v1":       {kind: resourceManifest, repo: "manifests", tag: "v1"},
		"/v2/a/manifests/" + d.String():    {kind: resourceManifest, repo: "a", digest: d},
		"/v2/a-b/c__d/blobs/" + d.String(): {kind: resourceBlob, repo: "a-b/c__d", digest: d},
		"/v2/a.b/referrers/" + d.String():  {kind: resourceReferrers, repo: "a.b", digest: d},
	} {
		if got, err := parsePath(path); err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", path, got, err, want)
		}
	}
	for _, path := range []string{"", "/", "/v1/a/tags/list", "/v2/a", "/v2/a/tags", "/v2//tags/list", "/v2/A/tags/list",
		"/v2/a//b/tags/list", "/v2/-a/tags/list", "/v2/a/manifests/", "/v2/a/manifests/.v", "/v2/a/blobs/x", "/v2/tags/list",
		"/v2/" + strings.Repeat("a", maxRepo+1) + "/tags/list", "/v2/a/blobs/sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709"} {
		if got, err := parsePath(path); err == nil {
			t.Errorf("%s: %+v, want an error", path, got)
		}
	}
}

func TestReference(t *testing.T) {
	d := digest.FromString("x").String()
	for ref, want := range map[string]string{
		"localhost:7600/app":              "ikada.local/app:latest",
		"localhost:7600/team/app:v1":      "ikada.local/team/app:v1",
		"LocalHost:7600/app:v1":           "ikada.local/app:v1",
		"localhost:7600/app@" + d:         "ikada.local/app@" + d,
		"localhost:7600/app:v1@" + d:      "ikada.local/app@" + d,
		"ikada.local/app:v1":              "ikada.local/app:v1",
		"localhost:7601/app":              "",
		"localhost/app":                   "",
		"app":                             "",
		"docker.io/library/app":           "",
		"localhost:7600/APP":              "",
		"localhost:7600/app:-v":           "",
		"localhost:7600/":                 "",
		"":                                "",
		"localhost:7600/app@sha256:short": "",
	} {
		got, ok := Reference("localhost:7600", ref)
		if got != want || ok != (want != "") {
			t.Errorf("%q: %q, %v; want %q", ref, got, ok, want)
		}
	}
	if got, ok := Reference("[::1]:7600", "[::1]:7600/app"); !ok || got != "ikada.local/app:latest" {
		t.Errorf("IPv6: %q, %v", got, ok)
	}
}

func FuzzReference(f *testing.F) {
	for _, s := range []string{"h:1/app", "h:1/team/app:v1", "h:1/app@" + digest.FromString("x").String(), "ikada.local/x", "h:1/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, ref string) {
		local, ok := Reference("h:1", ref)
		if !ok {
			return
		}
		// what it gives is the name of an image of the registry, and is stable
		if _, _, ok := splitName(local); !ok {
			t.Fatalf("%q gave %q", ref, local)
		}
		if again, ok := Reference("h:1", local); !ok || again != local {
			t.Fatalf("%q gave %q and then %q", ref, local, again)
		}
	})
}

func FuzzParsePath(f *testing.F) {
	for _, s := range []string{"/v2/", "/v2/a/tags/list", "/v2/a/blobs/uploads/", "/v2/a/manifests/v1", "/v2/a/blobs/sha256:0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		rt, err := parsePath(path)
		if err != nil || rt.kind == resourceBase || rt.kind == resourceCatalog {
			return
		}
		if !validRepo(rt.repo) || rt.tag != "" && !validTag(rt.tag) || rt.digest != "" && rt.digest.Validate() != nil {
			t.Fatalf("%q gave %+v", path, rt)
		}
	})
}

func FuzzContentRange(f *testing.F) {
	for _, s := range []string{"0-9", "bytes 0-9/10", "5-4", "-", "18446744073709551615-0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if first, last, err := parseContentRange(s); err == nil && (first < 0 || last < first) {
			t.Fatalf("%q gave %d-%d", s, first, last)
		}
	})
}

func FuzzDigest(f *testing.F) {
	f.Add(digest.FromString("x").String())
	f.Add("sha512:x")
	f.Fuzz(func(t *testing.T, s string) {
		if d, err := parseDigest(s); err == nil && (d.Validate() != nil || d.String() != s) {
			t.Fatalf("%q gave %q", s, d)
		}
	})
}

func FuzzManifest(f *testing.F) {
	img := []byte(`{"schemaVersion":2,"config":{"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},"layers":[]}`)
	f.Add(img, "")
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"digest":"x"}]}`), "application/vnd.oci.image.index.v1+json")
	f.Fuzz(func(t *testing.T, body []byte, mediaType string) {
		m, err := parseManifest(body, mediaType)
		if err != nil {
			return
		}
		for _, c := range m.children {
			if c.desc.Digest.Validate() != nil || c.desc.Size < 0 || c.label == "" {
				t.Fatalf("child %+v", c)
			}
		}
	})
}
