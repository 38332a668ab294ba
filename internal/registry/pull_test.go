package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ikada/ikada/api"
)

// What the specification's workflows "pull", "content discovery" and "content management" ask for.

func TestPullBlob(t *testing.T) {
	eachStore(t, func(t *testing.T, f *fixture) {
		b := bytes.Repeat([]byte("0123456789abcdef"), 128)
		d := f.pushBlob(t, "p", b).Digest
		p := "/v2/p/blobs/" + d.String()
		f.do(t, "GET", p, nil).want(t, http.StatusOK).wantHeader(t, "Docker-Content-Digest", d.String()).
			wantHeader(t, "Content-Type", "application/octet-stream")
		f.do(t, "HEAD", p, nil).want(t, http.StatusOK).wantHeader(t, "Docker-Content-Digest", d.String()).
			wantHeader(t, "Content-Length", fmt.Sprint(len(b)))
		for _, c := range []struct {
			header, contentRange string
			body                 []byte
		}{
			{"bytes=500-1499", "bytes 500-1499/2048", b[500:1500]},
			{"bytes=500-", "bytes 500-2047/2048", b[500:]},
			{"bytes=-500", "bytes 1548-2047/2048", b[1548:]},
			{"bytes=2000-5000", "bytes 2000-2047/2048", b[2000:]},
			{"bytes=0-0", "bytes 0-0/2048", b[:1]},
		} {
			a := f.do(t, "GET", p, nil, "Range", c.header).want(t, http.StatusPartialContent).
				wantHeader(t, "Content-Range", c.contentRange)
			if !bytes.Equal(a.body, c.body) {
				t.Errorf("%s gave %d bytes, want %d", c.header, len(a.body), len(c.body))
			}
		}
		for _, bad := range []string{"bytes=500-0", "bytes=5000-10000", "bytes=x"} {
			f.do(t, "GET", p, nil, "Range", bad).want(t, http.StatusRequestedRangeNotSatisfiable)
		}
		etag := f.do(t, "HEAD", p, nil).Header.Get("Etag")
		f.do(t, "GET", p, nil, "If-None-Match", etag).want(t, http.StatusNotModified)
		f.do(t, "GET", p, nil, "If-Range", etag, "Range", "bytes=1-2").want(t, http.StatusPartialContent)
		f.do(t, "GET", p, nil, "If-Range", `"other"`, "Range", "bytes=1-2").want(t, http.StatusOK)

		f.do(t, "GET", "/v2/other/blobs/"+d.String(), nil).want(t, http.StatusNotFound, codeBlobUnknown)
		f.do(t, "GET", "/v2/p/blobs/sha256:abc", nil).want(t, http.StatusBadRequest, codeDigestInvalid)
		f.do(t, "GET", "/v2/P/blobs/"+d.String(), nil).want(t, http.StatusBadRequest, codeNameInvalid)
	})
}

func TestPullManifest(t *testing.T) {
	f := newFixture(t)
	img := newImage(t, "pull", 1)
	f.pushImage(t, "p/q", "v1", img)
	for _, ref := range []string{"v1", img.digest.String()} {
		p := "/v2/p/q/manifests/" + ref
		a := f.do(t, "HEAD", p, nil).want(t, http.StatusOK).
			wantHeader(t, "Content-Length", fmt.Sprint(len(img.raw))).
			wantHeader(t, "Docker-Content-Digest", img.digest.String())
		f.do(t, "GET", p, nil, "If-None-Match", a.Header.Get("Etag")).want(t, http.StatusNotModified)
	}
	for _, p := range []string{"/v2/p/q/manifests/v2", "/v2/p/manifests/v1", "/v2/p/q/manifests/" + digest.FromString("x").String()} {
		f.do(t, "GET", p, nil).want(t, http.StatusNotFound, codeManifestUnknown)
	}
	f.do(t, "GET", "/v2/p/q/manifests/sha256:baddigeststring", nil).want(t, http.StatusBadRequest, codeDigestInvalid)
	// a manifest is no blob
	f.do(t, "GET", "/v2/p/q/blobs/"+img.digest.String(), nil).want(t, http.StatusNotFound)
}

// TestPullBuilt pulls what another part put into the image store with no push.
func TestPullBuilt(t *testing.T) {
	f := newFixture(t)
	ctx := testContext(t)
	img := newImage(t, "built", 2)
	index := encode(t, ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex,
		Manifests: []ocispec.Descriptor{img.descriptor(), descriptor(ocispec.MediaTypeImageManifest, []byte("other platform"))}})
	top := descriptor(ocispec.MediaTypeImageIndex, index)
	put := func(mediaType string, b []byte) {
		must(t, content.WriteBlob(ctx, f.content, digest.FromBytes(b).String(), bytes.NewReader(b), descriptor(mediaType, b)))
	}
	put(ocispec.MediaTypeImageConfig, img.config)
	for _, l := range img.layers {
		put(ocispec.MediaTypeImageLayer, l)
	}
	put(ocispec.MediaTypeImageManifest, img.raw)
	put(ocispec.MediaTypeImageIndex, index)
	layer := img.manifest.Layers[1].Digest.String()
	f.do(t, "GET", "/v2/built/blobs/"+layer, nil).want(t, http.StatusNotFound)
	_, err := f.images.Create(ctx, images.Image{Name: "ikada.local/built:v1", Target: top})
	must(t, err)

	f.do(t, "GET", "/v2/built/manifests/v1", nil).want(t, http.StatusOK).wantHeader(t, "Content-Type", ocispec.MediaTypeImageIndex)
	f.do(t, "GET", "/v2/built/manifests/"+top.Digest.String(), nil).want(t, http.StatusOK)
	f.do(t, "GET", "/v2/built/manifests/"+img.digest.String(), nil).want(t, http.StatusOK).
		wantHeader(t, "Content-Type", ocispec.MediaTypeImageManifest)
	f.do(t, "GET", "/v2/built/blobs/"+layer, nil).want(t, http.StatusOK)
	f.do(t, "GET", "/v2/built2/blobs/"+layer, nil).want(t, http.StatusNotFound)
	// images of other hosts are none of the registry's
	_, err = f.images.Create(ctx, images.Image{Name: "docker.io/library/foreign:v1", Target: top})
	must(t, err)
	f.do(t, "GET", "/v2/library/foreign/manifests/v1", nil).want(t, http.StatusNotFound)
	f.do(t, "GET", "/v2/built/tags/list", nil).want(t, http.StatusOK)
}

func tagsOf(t *testing.T, a answer) []string {
	t.Helper()
	var v struct{ Tags, Repositories []string }
	must(t, json.Unmarshal(a.want(t, http.StatusOK).body, &v))
	return append(v.Tags, v.Repositories...)
}

// nextOf gives the path that an answer's Link leads to.
func nextOf(t *testing.T, a answer) string {
	t.Helper()
	link := a.Header.Get("Link")
	if link == "" {
		return ""
	}
	p, ok := strings.CutSuffix(strings.TrimPrefix(link, "<"), `>; rel="next"`)
	if !ok {
		t.Fatalf("Link %q", link)
	}
	return p
}

func TestListTags(t *testing.T) {
	f := newFixture(t)
	f.do(t, "GET", "/v2/l/tags/list", nil).want(t, http.StatusNotFound, codeNameUnknown)
	img := newImage(t, "list", 0)
	f.pushImage(t, "l", "seed", img)
	f.pushImage(t, "l/sub", "not-mine", img)
	want := []string{"seed"}
	const many = 2000
	for i := range many {
		tag := fmt.Sprintf("v%d", i)
		want = append(want, tag)
		_, err := f.images.Create(testContext(t), images.Image{Name: "ikada.local/l:" + tag, Target: img.descriptor()})
		must(t, err)
	}
	slices.Sort(want)
	if got := tagsOf(t, f.do(t, "GET", "/v2/l/tags/list", nil)); !slices.Equal(got, want) {
		t.Fatalf("%d tags, want %d", len(got), len(want))
	}
	for _, n := range []int{7, 100, 1999, 2000, 2001, 5000} {
		var got []string
		for p := fmt.Sprintf("/v2/l/tags/list?n=%d", n); p != ""; {
			a := f.do(t, "GET", p, nil)
			page := tagsOf(t, a)
			if p = nextOf(t, a); p != "" && len(page) != n {
				t.Fatalf("page of %d, want %d", len(page), n)
			}
			got = append(got, page...)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("n=%d: %d tags in pages, want %d", n, len(got), len(want))
		}
	}
	if a := f.do(t, "GET", "/v2/l/tags/list?n=0", nil); len(tagsOf(t, a)) != 0 || nextOf(t, a) != "" {
		t.Fatal("n=0 gave tags or a Link")
	}
	if got := tagsOf(t, f.do(t, "GET", "/v2/l/tags/list?last=v998zzz", nil)); !slices.Equal(got, []string{"v999"}) {
		t.Fatalf("after v998zzz: %v", got)
	}
	for _, n := range []string{"-1", "x", "99999999999999999999"} {
		f.do(t, "GET", "/v2/l/tags/list?n="+n, nil).want(t, http.StatusBadRequest)
	}
	first := f.do(t, "GET", "/v2/_catalog?n=1", nil)
	rest := f.do(t, "GET", nextOf(t, first), nil)
	if got := append(tagsOf(t, first), tagsOf(t, rest)...); !slices.Equal(got, []string{"l", "l/sub"}) {
		t.Fatalf("catalog %v", got)
	}
}

func TestReferrers(t *testing.T) {
	f := newFixture(t)
	subject := newImage(t, "subject", 1)
	list := func(query string) (ocispec.Index, answer) {
		a := f.do(t, "GET", "/v2/r/referrers/"+subject.digest.String()+query, nil).want(t, http.StatusOK).
			wantHeader(t, "Content-Type", ocispec.MediaTypeImageIndex)
		var index ocispec.Index
		must(t, json.Unmarshal(a.body, &index))
		if index.SchemaVersion != 2 || index.MediaType != ocispec.MediaTypeImageIndex || index.Manifests == nil {
			t.Fatalf("not an index: %s", a.body)
		}
		return index, a
	}
	if index, _ := list(""); len(index.Manifests) != 0 {
		t.Fatal("referrers in an empty repository")
	}
	f.do(t, "GET", "/v2/r/referrers/sha256:x", nil).want(t, http.StatusBadRequest, codeDigestInvalid)

	// the referrers come first, their subject later
	sd := subject.descriptor()
	var want []ocispec.Descriptor
	for _, at := range []string{"application/vnd.sbom", "application/vnd.signature", ""} {
		img := newImage(t, "referrer "+at, 1, func(m *ocispec.Manifest) {
			m.Subject, m.ArtifactType = &sd, at
			m.Annotations = map[string]string{"kind": "of " + at}
		})
		f.pushImage(t, "r", img.digest.String(), img).wantHeader(t, "OCI-Subject", sd.Digest.String())
		d := img.descriptor()
		d.ArtifactType, d.Annotations = at, img.manifest.Annotations
		if at == "" {
			d.ArtifactType = ocispec.MediaTypeImageConfig
		}
		want = append(want, d)
	}
	raw := encode(t, ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex,
		Manifests: []ocispec.Descriptor{}, Subject: &sd})
	f.putManifest(t, "r", "index", ocispec.MediaTypeImageIndex, raw).want(t, http.StatusCreated).
		wantHeader(t, "OCI-Subject", sd.Digest.String())
	want = append(want, descriptor(ocispec.MediaTypeImageIndex, raw))
	f.pushImage(t, "r", "subject", subject)

	slices.SortFunc(want, func(a, b ocispec.Descriptor) int { return strings.Compare(a.Digest.String(), b.Digest.String()) })
	index, _ := list("")
	if got := encode(t, index.Manifests); !bytes.Equal(got, encode(t, want)) {
		t.Fatalf("referrers\n%s\nwant\n%s", got, encode(t, want))
	}
	index, a := list("?artifactType=application/vnd.sbom")
	a.wantHeader(t, "OCI-Filters-Applied", "artifactType")
	if len(index.Manifests) != 1 || index.Manifests[0].ArtifactType != "application/vnd.sbom" {
		t.Fatalf("filtered: %v", index.Manifests)
	}
	f.do(t, "DELETE", "/v2/r/manifests/"+index.Manifests[0].Digest.String(), nil).want(t, http.StatusAccepted)
	if index, _ := list("?artifactType=application/vnd.sbom"); len(index.Manifests) != 0 {
		t.Fatalf("deleted referrer is listed: %v", index.Manifests)
	}
}

func TestReferrersPages(t *testing.T) {
	f := newFixture(t)
	sd := descriptor(ocispec.MediaTypeImageManifest, []byte("subject that is not there"))
	f.pushBlob(t, "r", []byte("{}"))
	want := map[digest.Digest]bool{}
	for i := range 6 {
		raw := encode(t, ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
			ArtifactType: "application/vnd.large", Config: ocispec.DescriptorEmptyJSON, Layers: []ocispec.Descriptor{}, Subject: &sd,
			Annotations: map[string]string{"large": strings.Repeat(fmt.Sprint(i), 1<<20)}})
		f.putManifest(t, "r", digest.FromBytes(raw).String(), ocispec.MediaTypeImageManifest, raw).want(t, http.StatusCreated)
		want[digest.FromBytes(raw)] = true
	}
	pages := 0
	for p := "/v2/r/referrers/" + sd.Digest.String() + "?artifactType=application/vnd.large"; p != ""; pages++ {
		a := f.do(t, "GET", p, nil).want(t, http.StatusOK)
		if len(a.body) > maxManifest {
			t.Fatalf("page of %d bytes", len(a.body))
		}
		var index ocispec.Index
		must(t, json.Unmarshal(a.body, &index))
		for _, m := range index.Manifests {
			if !want[m.Digest] {
				t.Fatalf("%s is listed twice or wrongly", m.Digest)
			}
			delete(want, m.Digest)
		}
		p = nextOf(t, a)
	}
	if len(want) != 0 || pages != 2 {
		t.Fatalf("%d referrers missing after %d pages", len(want), pages)
	}
}

func TestDelete(t *testing.T) {
	eachStore(t, func(t *testing.T, f *fixture) {
		img := newImage(t, "delete", 1)
		f.pushImage(t, "d", "one", img)
		f.putManifest(t, "d", "two", img.manifest.MediaType, img.raw).want(t, http.StatusCreated)
		index := encode(t, ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex,
			Manifests: []ocispec.Descriptor{img.descriptor()}})
		f.putManifest(t, "d", "index", ocispec.MediaTypeImageIndex, index).want(t, http.StatusCreated)
		manifest, layer := "/v2/d/manifests/"+img.digest.String(), "/v2/d/blobs/"+img.manifest.Layers[0].Digest.String()

		f.do(t, "DELETE", "/v2/d/manifests/one", nil).want(t, http.StatusAccepted)
		f.do(t, "DELETE", "/v2/d/manifests/one", nil).want(t, http.StatusNotFound, codeManifestUnknown)
		f.do(t, "GET", "/v2/d/manifests/one", nil).want(t, http.StatusNotFound)
		f.do(t, "GET", "/v2/d/manifests/two", nil).want(t, http.StatusOK)
		f.do(t, "GET", manifest, nil).want(t, http.StatusOK)

		// what something else is made of stays until that is gone
		f.do(t, "DELETE", manifest, nil).want(t, http.StatusMethodNotAllowed, codeUnsupported)
		f.do(t, "DELETE", layer, nil).want(t, http.StatusMethodNotAllowed, codeUnsupported)
		f.do(t, "DELETE", "/v2/d/manifests/"+digest.FromBytes(index).String(), nil).want(t, http.StatusAccepted)
		f.do(t, "GET", "/v2/d/manifests/index", nil).want(t, http.StatusNotFound)
		f.do(t, "DELETE", manifest, nil).want(t, http.StatusAccepted)
		for _, p := range []string{manifest, "/v2/d/manifests/two"} {
			f.do(t, "GET", p, nil).want(t, http.StatusNotFound)
		}
		f.do(t, "DELETE", manifest, nil).want(t, http.StatusNotFound)
		f.do(t, "DELETE", layer, nil).want(t, http.StatusAccepted)
		f.do(t, "GET", layer, nil).want(t, http.StatusNotFound)
		f.do(t, "DELETE", layer, nil).want(t, http.StatusNotFound, codeBlobUnknown)
		f.do(t, "DELETE", "/v2/d/tags/list", nil).want(t, http.StatusMethodNotAllowed, codeUnsupported)
	})
}

func TestAuth(t *testing.T) {
	f := newFixture(t)
	f.reg.cfg.Auth = func(r *http.Request) error {
		switch user, _, _ := r.BasicAuth(); user {
		case "":
			return api.Errorf(api.Unauthorized, "token is missing")
		case "reader":
			return nil
		}
		return errors.New("not yours")
	}
	f.do(t, "GET", "/v2/", nil).want(t, http.StatusUnauthorized, codeUnauthorized).
		wantHeader(t, "WWW-Authenticate", `Basic realm="ikada", charset="UTF-8"`)
	f.do(t, "GET", "/v2/", nil, "Authorization", "Basic b3RoZXI6eA==").want(t, http.StatusForbidden, codeDenied)
	f.do(t, "GET", "/v2/", nil, "Authorization", "Basic cmVhZGVyOng=").want(t, http.StatusOK)
}
