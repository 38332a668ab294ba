package registry

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// What the specification's workflow "push" asks for.

var algorithms = []digest.Algorithm{digest.SHA256, digest.SHA512}

func TestBase(t *testing.T) {
	f := newFixture(t)
	f.do(t, "GET", "/v2/", nil).want(t, http.StatusOK).wantHeader(t, "Docker-Distribution-Api-Version", "registry/2.0")
	f.do(t, "POST", "/v2/", nil).want(t, http.StatusMethodNotAllowed, codeUnsupported)
}

func TestPushMonolithic(t *testing.T) {
	eachStore(t, func(t *testing.T, f *fixture) {
		for _, alg := range algorithms {
			for _, b := range [][]byte{[]byte("one " + alg), {}, bytes.Repeat([]byte("x"), 3<<20+7)} {
				d := alg.FromBytes(b)
				blob := "/v2/a/b/blobs/" + d.String()
				f.do(t, "HEAD", blob, nil).want(t, http.StatusNotFound)

				start := f.do(t, "POST", "/v2/a/b/blobs/uploads/", nil).want(t, http.StatusAccepted)
				loc := start.Header.Get("Location")
				if id := start.Header.Get("Docker-Upload-UUID"); id == "" || !strings.HasSuffix(loc, id) {
					t.Fatalf("Location %q without upload %q", loc, id)
				}
				f.do(t, "PUT", loc+"?digest="+d.String(), b, "Content-Type", "application/octet-stream").
					want(t, http.StatusCreated).wantHeader(t, "Location", blob).
					wantHeader(t, "Docker-Content-Digest", d.String())
				if got := f.do(t, "GET", blob, nil).want(t, http.StatusOK); !bytes.Equal(got.body, b) {
					t.Fatalf("blob of %d bytes came back as %d", len(b), len(got.body))
				}
				// the same again, in one request, is no error
				f.do(t, "POST", "/v2/a/b/blobs/uploads/?digest="+d.String(), b).
					want(t, http.StatusCreated).wantHeader(t, "Location", blob)
			}
		}
		if _, ingests := f.onDisk(t); ingests != 0 {
			t.Fatalf("%d ingests are left", ingests)
		}
	})
}

func TestPushChunked(t *testing.T) {
	eachStore(t, func(t *testing.T, f *fixture) {
		for _, alg := range algorithms {
			b := bytes.Repeat([]byte(alg), 1000)
			d := alg.FromBytes(b)
			loc := f.do(t, "POST", "/v2/c/blobs/uploads/?digest-algorithm="+alg.String(), nil).
				want(t, http.StatusAccepted).Header.Get("Location")
			patch := func(first, last int) answer {
				return f.do(t, "PATCH", loc, b[first:last+1], "Content-Range", fmt.Sprintf("%d-%d", first, last))
			}
			patch(10, 19).want(t, http.StatusRequestedRangeNotSatisfiable, codeBlobUploadInvalid).
				wantHeader(t, "Location", loc)
			patch(0, 99).want(t, http.StatusAccepted).wantHeader(t, "Range", "0-99").wantHeader(t, "Location", loc)
			patch(0, 99).want(t, http.StatusRequestedRangeNotSatisfiable).wantHeader(t, "Range", "0-99")
			patch(200, 299).want(t, http.StatusRequestedRangeNotSatisfiable)
			f.do(t, "GET", loc, nil).want(t, http.StatusNoContent).wantHeader(t, "Range", "0-99")
			patch(100, 4999).want(t, http.StatusAccepted).wantHeader(t, "Range", "0-4999")
			last := fmt.Sprintf("5000-%d", len(b)-1)
			put := loc + "?digest=" + d.String()
			f.do(t, "PUT", put, b[5000:], "Content-Range", "4000-4999").want(t, http.StatusRequestedRangeNotSatisfiable)
			f.do(t, "PUT", put, b[5000:], "Content-Range", last).want(t, http.StatusCreated)
			if got := f.do(t, "GET", "/v2/c/blobs/"+d.String(), nil); !bytes.Equal(got.body, b) {
				t.Fatal("blob came back changed")
			}
		}
	})
}

func TestPushStreamed(t *testing.T) {
	eachStore(t, func(t *testing.T, f *fixture) {
		for _, alg := range algorithms {
			b := bytes.Repeat([]byte("stream "+alg), 200_000)
			d := alg.FromBytes(b)
			loc := f.do(t, "POST", "/v2/s/blobs/uploads/", nil).want(t, http.StatusAccepted).Header.Get("Location")
			// io.MultiReader hides the length, so the body goes out in HTTP chunks
			f.send(t, "PATCH", loc, io.MultiReader(bytes.NewReader(b))).want(t, http.StatusAccepted).
				wantHeader(t, "Range", fmt.Sprintf("0-%d", len(b)-1))
			f.do(t, "PUT", loc+"?digest="+d.String(), nil).want(t, http.StatusCreated)
			if got := f.do(t, "GET", "/v2/s/blobs/"+d.String(), nil); !bytes.Equal(got.body, b) {
				t.Fatal("blob came back changed")
			}
			f.do(t, "GET", loc, nil).want(t, http.StatusNotFound, codeBlobUploadUnknown)
		}
	})
}

func TestPushWrongDigest(t *testing.T) {
	eachStore(t, func(t *testing.T, f *fixture) {
		known := f.pushBlob(t, "other", []byte("known"))
		known512 := f.pushBlobAs(t, "other", []byte("known by sha512"), digest.SHA512)
		for _, d := range []digest.Digest{digest.FromString("x"), digest.SHA512.FromString("x"), known.Digest, known512.Digest} {
			f.do(t, "POST", "/v2/w/blobs/uploads/?digest="+d.String(), []byte("other bytes")).
				want(t, http.StatusBadRequest, codeDigestInvalid)
			loc := f.do(t, "POST", "/v2/w/blobs/uploads/", nil).Header.Get("Location")
			f.do(t, "PATCH", loc, []byte("other ")).want(t, http.StatusAccepted)
			f.do(t, "PUT", loc+"?digest="+d.String(), []byte("bytes")).want(t, http.StatusBadRequest, codeDigestInvalid)
			// nobody gains a blob by knowing its digest
			f.do(t, "HEAD", "/v2/w/blobs/"+d.String(), nil).want(t, http.StatusNotFound)
		}
		f.do(t, "POST", "/v2/w/blobs/uploads/?digest="+known512.Digest.String(), []byte("known by sha512")).
			want(t, http.StatusCreated)
		for _, s := range []string{"", "sha256:", "sha256:abc", "md5:d41d8cd98f00b204e9800998ecf8427e", "nonsense"} {
			loc := f.do(t, "POST", "/v2/w/blobs/uploads/", nil).Header.Get("Location")
			f.do(t, "PUT", loc+"?digest="+s, []byte("b")).want(t, http.StatusBadRequest, codeDigestInvalid)
			f.do(t, "DELETE", loc, nil).want(t, http.StatusNoContent)
		}
		if _, ingests := f.onDisk(t); ingests != 0 {
			t.Fatalf("%d ingests are left", ingests)
		}
	})
}

func TestUploadErrors(t *testing.T) {
	f := newFixture(t)
	loc := f.do(t, "POST", "/v2/u/blobs/uploads/", nil).want(t, http.StatusAccepted).Header.Get("Location")
	elsewhere := strings.Replace(loc, "/v2/u/", "/v2/v/", 1)
	for _, method := range []string{"GET", "PATCH", "DELETE"} {
		f.do(t, method, elsewhere, nil).want(t, http.StatusNotFound)
	}
	for _, s := range []string{"a-b", "5", "-", "5-4", "-1-5", "0-99999999999999999999"} {
		f.do(t, "PATCH", loc, []byte("x"), "Content-Range", s).want(t, http.StatusBadRequest, codeBlobUploadInvalid)
	}
	f.do(t, "PATCH", loc, []byte("xyz"), "Content-Range", "0-9").want(t, http.StatusBadRequest, codeSizeInvalid)
	f.do(t, "GET", loc, nil).want(t, http.StatusNoContent).wantHeader(t, "Range", "0-0")
	f.do(t, "DELETE", loc, nil).want(t, http.StatusNoContent)
	f.do(t, "DELETE", loc, nil).want(t, http.StatusNotFound, codeBlobUploadUnknown)
	f.do(t, "POST", "/v2/u/blobs/uploads/?digest-algorithm=md5", nil).want(t, http.StatusBadRequest, codeDigestInvalid)
}

func TestMount(t *testing.T) {
	eachStore(t, func(t *testing.T, f *fixture) {
		for _, alg := range algorithms {
			d := f.pushBlobAs(t, "from", []byte("mounted "+alg), alg).Digest.String()
			named := f.pushBlobAs(t, "from", []byte("mounted from anywhere "+alg), alg).Digest.String()
			f.do(t, "POST", "/v2/to/blobs/uploads/?mount="+d+"&from=nowhere", nil).want(t, http.StatusAccepted)
			f.do(t, "HEAD", "/v2/to/blobs/"+d, nil).want(t, http.StatusNotFound)
			f.do(t, "POST", "/v2/to/blobs/uploads/?mount="+d+"&from=from", nil).
				want(t, http.StatusCreated).wantHeader(t, "Location", "/v2/to/blobs/"+d)
			f.do(t, "HEAD", "/v2/to/blobs/"+d, nil).want(t, http.StatusOK)
			f.do(t, "POST", "/v2/to/blobs/uploads/?mount="+named, nil).want(t, http.StatusCreated)
			f.do(t, "GET", "/v2/to/blobs/"+named, nil).want(t, http.StatusOK)
			missing := alg.FromString("never pushed").String()
			f.do(t, "POST", "/v2/to/blobs/uploads/?mount="+missing, nil).want(t, http.StatusAccepted)
		}
		// a blob of an image is found too, when its own hold is over
		img := newImage(t, "mount", 1)
		f.pushImage(t, "image", "v1", img)
		f.clock.advance(settle)
		must(t, f.reg.Sweep(t.Context()))
		f.do(t, "POST", "/v2/to/blobs/uploads/?mount="+img.manifest.Layers[0].Digest.String(), nil).
			want(t, http.StatusCreated)
		f.do(t, "POST", "/v2/to/blobs/uploads/?mount=bad", nil).want(t, http.StatusBadRequest, codeDigestInvalid)
		f.do(t, "POST", "/v2/to/blobs/uploads/?from=BAD&mount="+img.digest.String(), nil).
			want(t, http.StatusBadRequest, codeNameInvalid)
	})
}

func TestPushManifest(t *testing.T) {
	eachStore(t, func(t *testing.T, f *fixture) {
		img := newImage(t, "m", 2)
		p := "/v2/m/manifests/"
		for i, step := range [][]byte{img.config, img.layers[0], img.layers[1]} {
			a := f.putManifest(t, "m", "v1", img.manifest.MediaType, img.raw).
				want(t, http.StatusNotFound, codeManifestBlobUnknown)
			if got := len(a.codes(t)); got != 3-i {
				t.Fatalf("%d blobs named as missing, want %d", got, 3-i)
			}
			f.do(t, "HEAD", p+"v1", nil).want(t, http.StatusNotFound)
			f.pushBlob(t, "m", step)
		}
		f.putManifest(t, "m", "v1", img.manifest.MediaType+"; charset=utf-8", img.raw).want(t, http.StatusCreated).
			wantHeader(t, "Location", p+"v1").wantHeader(t, "Docker-Content-Digest", img.digest.String())
		for _, ref := range []string{"v1", img.digest.String()} {
			a := f.do(t, "GET", p+ref, nil).want(t, http.StatusOK).
				wantHeader(t, "Content-Type", ocispec.MediaTypeImageManifest).
				wantHeader(t, "Docker-Content-Digest", img.digest.String())
			if !bytes.Equal(a.body, img.raw) {
				t.Fatal("manifest came back changed")
			}
		}
		// blobs are per repository
		f.putManifest(t, "other", "v1", img.manifest.MediaType, img.raw).
			want(t, http.StatusNotFound, codeManifestBlobUnknown)

		by512 := digest.SHA512.FromBytes(img.raw)
		f.putManifest(t, "m", by512.String()+"?tag=one&tag=two", img.manifest.MediaType, img.raw).
			want(t, http.StatusCreated).wantHeader(t, "Docker-Content-Digest", by512.String())
		for _, ref := range []string{"one", "two", by512.String()} {
			f.do(t, "GET", p+ref, nil).want(t, http.StatusOK).wantHeader(t, "Docker-Content-Digest", by512.String())
		}
		f.putManifest(t, "m", "three?digest="+by512.String(), img.manifest.MediaType, img.raw).want(t, http.StatusCreated)
		f.do(t, "HEAD", p+"three", nil).want(t, http.StatusOK).wantHeader(t, "Docker-Content-Digest", by512.String())
	})
}

func TestPushManifestRefused(t *testing.T) {
	f := newFixture(t)
	img := newImage(t, "r", 1)
	f.pushBlobs(t, "r", img)
	child := descriptor(ocispec.MediaTypeImageManifest, []byte("no such child"))
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex,
		Manifests: []ocispec.Descriptor{child}}
	wrongSize := newImage(t, "r", 1, func(m *ocispec.Manifest) { m.Layers[0].Size++ })
	for name, c := range map[string]struct {
		ref, mediaType string
		body           []byte
		status         int
		code           string
	}{
		"not JSON":       {"v", ocispec.MediaTypeImageManifest, []byte("no"), 400, codeManifestInvalid},
		"two values":     {"v", ocispec.MediaTypeImageManifest, append(img.raw, "{}"...), 400, codeManifestInvalid},
		"empty":          {"v", ocispec.MediaTypeImageManifest, []byte{}, 400, codeManifestInvalid},
		"other type":     {"v", ocispec.MediaTypeImageIndex, img.raw, 400, codeManifestInvalid},
		"unknown type":   {"v", "application/x-thing", []byte(`{"schemaVersion":2}`), 400, codeManifestInvalid},
		"bad type":       {"v", ";;", img.raw, 400, codeManifestInvalid},
		"no config":      {"v", ocispec.MediaTypeImageManifest, []byte(`{"schemaVersion":2}`), 400, codeManifestInvalid},
		"schema 1":       {"v", ocispec.MediaTypeImageManifest, []byte(`{"schemaVersion":1}`), 400, codeManifestInvalid},
		"bad digest":     {"v", ocispec.MediaTypeImageManifest, []byte(`{"schemaVersion":2,"config":{"digest":"x"}}`), 400, codeManifestInvalid},
		"wrong size":     {"v", ocispec.MediaTypeImageManifest, wrongSize.raw, 400, codeManifestInvalid},
		"child missing":  {"v", ocispec.MediaTypeImageIndex, encode(t, index), 404, codeManifestBlobUnknown},
		"wrong digest":   {digest.FromString("x").String(), ocispec.MediaTypeImageManifest, img.raw, 400, codeDigestInvalid},
		"broken digest":  {"sha256:baddigeststring", ocispec.MediaTypeImageManifest, img.raw, 400, codeDigestInvalid},
		"bad tag":        {"-v", ocispec.MediaTypeImageManifest, img.raw, 400, codeManifestInvalid},
		"long tag":       {strings.Repeat("v", 129), ocispec.MediaTypeImageManifest, img.raw, 400, codeManifestInvalid},
		"too large":      {"v", ocispec.MediaTypeImageManifest, bytes.Repeat([]byte(" "), maxManifest+1), 413, codeSizeInvalid},
		"bad tag beside": {img.digest.String() + "?tag=-v", ocispec.MediaTypeImageManifest, img.raw, 400, codeManifestInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			f.putManifest(t, "r", c.ref, c.mediaType, c.body).want(t, c.status, c.code)
		})
	}
	f.do(t, "GET", "/v2/r/tags/list", nil).want(t, http.StatusOK)
	if list, err := f.images.List(testContext(t)); err != nil || len(list) != 0 {
		t.Fatalf("images %v, %v after refused pushes", list, err)
	}
	// exactly the limit is taken
	full := append(bytes.Clone(img.raw), bytes.Repeat([]byte(" "), maxManifest-len(img.raw))...)
	f.putManifest(t, "r", "full", ocispec.MediaTypeImageManifest, full).want(t, http.StatusCreated)
	f.do(t, "GET", "/v2/r/manifests/full", nil).want(t, http.StatusOK)
}

func TestPushManifestKinds(t *testing.T) {
	f := newFixture(t)
	docker := newImage(t, "docker", 1, func(m *ocispec.Manifest) {
		m.MediaType = images.MediaTypeDockerSchema2Manifest
		m.Config.MediaType = images.MediaTypeDockerSchema2Config
		m.Layers[0].MediaType = images.MediaTypeDockerSchema2LayerGzip
	})
	f.pushImage(t, "k", "docker", docker)
	list := encode(t, ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: images.MediaTypeDockerSchema2ManifestList, Manifests: []ocispec.Descriptor{docker.descriptor()}})
	f.putManifest(t, "k", "list", images.MediaTypeDockerSchema2ManifestList, list).want(t, http.StatusCreated)

	foreign := newImage(t, "foreign", 2, func(m *ocispec.Manifest) {
		m.Layers[0].MediaType = ocispec.MediaTypeImageLayerNonDistributableGzip //nolint:staticcheck // that is the case
		m.Layers[0].URLs = []string{"https://example.com/layer"}
	})
	f.pushBlob(t, "k", foreign.config)
	f.pushBlob(t, "k", foreign.layers[1])
	f.putManifest(t, "k", "foreign", foreign.manifest.MediaType, foreign.raw).want(t, http.StatusCreated)
	f.do(t, "GET", "/v2/k/blobs/"+foreign.manifest.Layers[0].Digest.String(), nil).want(t, http.StatusNotFound)

	empty := newImage(t, "", 0, func(m *ocispec.Manifest) {
		m.ArtifactType = "application/vnd.example"
		m.Config = ocispec.DescriptorEmptyJSON
		m.Layers = []ocispec.Descriptor{ocispec.DescriptorEmptyJSON}
	})
	f.pushBlob(t, "k", []byte("{}"))
	f.putManifest(t, "k", "empty", empty.manifest.MediaType, empty.raw).want(t, http.StatusCreated)

	blob := f.pushBlob(t, "k", []byte("artifact's blob"))
	artifact := encode(t, map[string]any{"mediaType": mediaTypeArtifact, "artifactType": "application/vnd.example",
		"blobs": []ocispec.Descriptor{blob}})
	f.putManifest(t, "k", "artifact", mediaTypeArtifact, artifact).want(t, http.StatusCreated)
	index := encode(t, ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []ocispec.Descriptor{}})
	f.putManifest(t, "k", "emptyindex", ocispec.MediaTypeImageIndex, index).want(t, http.StatusCreated)

	for tag, mt := range map[string]string{
		"docker": images.MediaTypeDockerSchema2Manifest, "list": images.MediaTypeDockerSchema2ManifestList,
		"foreign": ocispec.MediaTypeImageManifest, "empty": ocispec.MediaTypeImageManifest,
		"artifact": mediaTypeArtifact, "emptyindex": ocispec.MediaTypeImageIndex,
	} {
		f.do(t, "GET", "/v2/k/manifests/"+tag, nil).want(t, http.StatusOK).wantHeader(t, "Content-Type", mt)
	}
}
