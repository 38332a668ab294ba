package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// What is kept, what is resumed and what goes: by the runtime's own garbage collector.

// wantOnDisk fails unless exactly these blobs lie on disk, and no ingest does.
func (f *fixture) wantOnDisk(t testing.TB, want ...digest.Digest) {
	t.Helper()
	have, ingests := f.onDisk(t)
	got := slices.Sorted(maps.Keys(have))
	want = slices.Compact(slices.Sorted(slices.Values(want)))
	if !slices.Equal(got, want) {
		t.Fatalf("on disk are\n%v\nwant\n%v", got, want)
	}
	if ingests != 0 {
		t.Fatalf("%d ingests are left", ingests)
	}
}

// wantPullable fails unless the whole image can be read through HTTP.
func (f *fixture) wantPullable(t testing.TB, repo, ref string, img *testImage) {
	t.Helper()
	a := f.do(t, "GET", "/v2/"+repo+"/manifests/"+ref, nil).want(t, http.StatusOK)
	if !bytes.Equal(a.body, img.raw) {
		t.Fatalf("manifest %s of %s came back changed", ref, repo)
	}
	for _, d := range img.blobs()[1:] {
		a := f.do(t, "GET", "/v2/"+repo+"/blobs/"+d.String(), nil).want(t, http.StatusOK)
		if d.Algorithm().FromBytes(a.body) != d {
			t.Fatalf("blob %s came back changed", d)
		}
	}
}

func TestCollect(t *testing.T) {
	f := newFixture(t)
	kept, dropped := newImage(t, "kept", 2), newImage(t, "dropped", 2)
	f.pushImage(t, "app", "v1", kept)
	f.pushImage(t, "app", "v2", dropped)
	shared := f.pushBlob(t, "app", []byte("never named"))
	index := encode(t, ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex,
		Manifests: []ocispec.Descriptor{kept.descriptor()}})
	f.putManifest(t, "app", "multi", ocispec.MediaTypeImageIndex, index).want(t, http.StatusCreated)
	f.collect(t)
	all := slices.Concat(kept.blobs(), dropped.blobs(), []digest.Digest{shared.Digest, digest.FromBytes(index)})
	f.wantOnDisk(t, all...)

	// a deleted image goes once its blobs have settled; one that a manifest never named, once its grace is over
	f.do(t, "DELETE", "/v2/app/manifests/"+dropped.digest.String(), nil).want(t, http.StatusAccepted)
	f.clock.advance(settle)
	must(t, f.reg.Sweep(t.Context()))
	f.collect(t)
	f.wantPullable(t, "app", "v1", kept)
	f.clock.advance(DefaultGrace)
	must(t, f.reg.Sweep(t.Context()))
	f.collect(t)
	f.wantOnDisk(t, append(kept.blobs(), digest.FromBytes(index))...)
	f.wantPullable(t, "app", "v1", kept)

	// the index alone keeps all of it
	f.do(t, "DELETE", "/v2/app/manifests/v1", nil).want(t, http.StatusAccepted)
	must(t, f.images.Delete(testContext(t), digestName("app", kept.digest)))
	f.collect(t)
	f.wantPullable(t, "app", kept.digest.String(), kept)
	f.do(t, "DELETE", "/v2/app/manifests/"+digest.FromBytes(index).String(), nil).want(t, http.StatusAccepted)
	f.collect(t)
	f.wantOnDisk(t)
	f.do(t, "GET", "/v2/app/tags/list", nil).want(t, http.StatusNotFound, codeNameUnknown)
	if list, err := f.leases.List(testContext(t)); err != nil || len(list) != 0 {
		t.Fatalf("leases left: %v, %v", list, err)
	}
}

// TestCollectMovedTag moves a tag: what it named before stays by its digest, as releases pin it.
func TestCollectMovedTag(t *testing.T) {
	f := newFixture(t)
	v1, v2 := newImage(t, "v1", 1), newImage(t, "v2", 1)
	f.pushImage(t, "app", "latest", v1)
	f.pushImage(t, "app", "latest", v2)
	f.clock.advance(DefaultGrace)
	must(t, f.reg.Sweep(t.Context()))
	f.collect(t)
	f.wantPullable(t, "app", "latest", v2)
	f.wantPullable(t, "app", v1.digest.String(), v1)
	f.wantOnDisk(t, append(v1.blobs(), v2.blobs()...)...)
}

// TestRunnable finds in the runtime's stores what unpacking an image asks them for.
func TestRunnable(t *testing.T) {
	f := newFixture(t)
	ctx := testContext(t)
	img := newImage(t, "run", 2)
	f.pushImage(t, "team/app", "v1", img)
	f.clock.advance(DefaultGrace)
	must(t, f.reg.Sweep(t.Context()))
	f.collect(t)
	for _, ref := range []string{"localhost:7600/team/app:v1", "localhost:7600/team/app@" + img.digest.String()} {
		name, ok := Reference("localhost:7600", ref)
		if !ok {
			t.Fatalf("%s is not ours", ref)
		}
		stored, err := f.images.Get(ctx, name)
		must(t, err)
		m, err := images.Manifest(ctx, f.content, stored.Target, nil)
		must(t, err)
		for _, d := range append(m.Layers, m.Config) {
			info, err := f.content.Info(ctx, d.Digest)
			must(t, err)
			if info.Size != d.Size {
				t.Fatalf("%s has %d bytes, want %d", d.Digest, info.Size, d.Size)
			}
		}
	}
}

// breaking is a body that fails after its bytes.
func breaking(b []byte) io.Reader {
	return io.MultiReader(bytes.NewReader(b), errReader{})
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errors.New("connection lost") }

// sendBroken sends a request whose body breaks off.
func (f *fixture) sendBroken(t testing.TB, method, path string, b []byte, header ...string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, f.url+path, breaking(b))
	must(t, err)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err == nil {
		resp.Body.Close()
		if resp.StatusCode < 400 {
			t.Fatalf("%s %s: status %d for a body that broke off", method, path, resp.StatusCode)
		}
	}
}

// TestBrokenPush breaks a push off after each of its steps and in the middle of each: nothing is to be seen of it, a
// restarted registry takes its rest, and after the upload's time all of it is gone.
func TestBrokenPush(t *testing.T) {
	big := bytes.Repeat([]byte("layer"), 500_000)
	img := newImage(t, "broken", 1, func(m *ocispec.Manifest) {
		m.Layers[0] = descriptor(ocispec.MediaTypeImageLayer, big)
	})
	layer := img.manifest.Layers[0].Digest.String()
	manifest := "/v2/app/manifests/v1"
	var loc string
	steps := []struct {
		name string
		do   func(t *testing.T, f *fixture)
	}{
		{"post", func(t *testing.T, f *fixture) {
			loc = f.do(t, "POST", "/v2/app/blobs/uploads/", nil).want(t, http.StatusAccepted).Header.Get("Location")
		}},
		{"patch broken off", func(t *testing.T, f *fixture) { f.sendBroken(t, "PATCH", loc, big[:1_000_000]) }},
		{"patch", func(t *testing.T, f *fixture) {
			at := f.offset(t, loc)
			f.do(t, "PATCH", loc, big[at:2_000_000]).want(t, http.StatusAccepted)
		}},
		{"put broken off", func(t *testing.T, f *fixture) {
			f.sendBroken(t, "PUT", loc+"?digest="+layer, big[f.offset(t, loc):2_200_000])
		}},
		{"put", func(t *testing.T, f *fixture) {
			f.do(t, "PUT", loc+"?digest="+layer, big[f.offset(t, loc):]).want(t, http.StatusCreated)
		}},
		{"config in one request, broken off", func(t *testing.T, f *fixture) {
			f.sendBroken(t, "POST", "/v2/app/blobs/uploads/?digest="+img.manifest.Config.Digest.String(), img.config[:5])
		}},
		{"config", func(t *testing.T, f *fixture) { f.pushBlob(t, "app", img.config) }},
		{"manifest broken off", func(t *testing.T, f *fixture) {
			f.sendBroken(t, "PUT", manifest, img.raw[:20], "Content-Type", ocispec.MediaTypeImageManifest)
		}},
	}
	for n := range steps {
		t.Run("after "+steps[n].name, func(t *testing.T) {
			eachStore(t, func(t *testing.T, f *fixture) {
				for _, s := range steps[:n+1] {
					s.do(t, f)
					f = f.restart(t) // in the middle of everything
					f.collect(t)
				}
				f.do(t, "GET", manifest, nil).want(t, http.StatusNotFound)
				if list, err := f.images.List(testContext(t)); err != nil || len(list) != 0 {
					t.Fatalf("images %v, %v", list, err)
				}
				f.clock.advance(DefaultUploadTTL)
				must(t, f.reg.Sweep(t.Context()))
				f.collect(t)
				f.wantOnDisk(t)
				f.do(t, "GET", loc, nil).want(t, http.StatusNotFound, codeBlobUploadUnknown)
			})
		})
	}
	t.Run("taken up to the end", func(t *testing.T) {
		eachStore(t, func(t *testing.T, f *fixture) {
			for _, s := range steps {
				s.do(t, f)
				f = f.restart(t)
				f.collect(t)
			}
			f.putManifest(t, "app", "v1", img.manifest.MediaType, img.raw).want(t, http.StatusCreated)
			f.wantPullable(t, "app", "v1", img)
		})
	})
}

// offset asks how far an upload came.
func (f *fixture) offset(t testing.TB, loc string) int {
	t.Helper()
	a := f.do(t, "GET", loc, nil).want(t, http.StatusNoContent)
	var last int
	if _, err := fmt.Sscanf(a.Header.Get("Range"), "0-%d", &last); err != nil {
		t.Fatal(err)
	}
	if last == 0 {
		return 0
	}
	return last + 1
}

// TestSweepSparesWork leaves alone what somebody works on.
func TestSweepSparesWork(t *testing.T) {
	f := newFixture(t)
	loc := f.do(t, "POST", "/v2/a/blobs/uploads/", nil).Header.Get("Location")
	for range 3 {
		f.clock.advance(DefaultUploadTTL - time.Minute)
		f.do(t, "PATCH", loc, []byte("a piece a day ")).want(t, http.StatusAccepted)
		must(t, f.reg.Sweep(t.Context()))
		f.collect(t)
	}
	b := []byte(strings.Repeat("a piece a day ", 3))
	f.do(t, "PUT", loc+"?digest="+digest.FromBytes(b).String(), nil).want(t, http.StatusCreated)
	f.clock.advance(DefaultGrace - time.Minute)
	must(t, f.reg.Sweep(t.Context()))
	f.collect(t)
	f.wantOnDisk(t, digest.FromBytes(b))
}

// TestBusyUpload keeps two requests from working on one upload at a time.
func TestBusyUpload(t *testing.T) {
	f := newFixture(t)
	loc := f.do(t, "POST", "/v2/a/blobs/uploads/", nil).Header.Get("Location")
	var wg sync.WaitGroup
	var mu sync.Mutex
	taken := 0
	for range 8 {
		wg.Go(func() {
			a := f.do(t, "PATCH", loc, []byte("0123456789"), "Content-Range", "0-9")
			mu.Lock()
			defer mu.Unlock()
			switch a.StatusCode {
			case http.StatusAccepted:
				taken++
			case http.StatusRequestedRangeNotSatisfiable:
			default:
				t.Errorf("status %d", a.StatusCode)
			}
		})
	}
	wg.Wait()
	if taken != 1 || f.offset(t, loc) != 10 {
		t.Fatalf("%d chunks taken, upload at %d", taken, f.offset(t, loc))
	}
}

// TestConcurrentPush has many clients push the same blobs and move the same tag, while the collector runs.
func TestConcurrentPush(t *testing.T) {
	eachStore(t, func(t *testing.T, f *fixture) {
		const clients = 8
		imgs := make([]*testImage, clients)
		base := []byte(strings.Repeat("base layer ", 1000))
		var wg sync.WaitGroup
		for i := range imgs {
			imgs[i] = newImage(t, fmt.Sprint("client ", i), 1, func(m *ocispec.Manifest) {
				m.Layers = append(m.Layers, descriptor(ocispec.MediaTypeImageLayer, base))
			})
			wg.Go(func() {
				f.pushBlob(t, "app", base)
				f.pushImage(t, "app", "latest", imgs[i])
				f.collect(t)
			})
		}
		wg.Wait()
		at := digest.Digest(f.do(t, "HEAD", "/v2/app/manifests/latest", nil).want(t, http.StatusOK).Header.Get("Docker-Content-Digest"))
		found := false
		for _, img := range imgs {
			f.wantPullable(t, "app", img.digest.String(), img)
			found = found || img.digest == at
		}
		if !found {
			t.Fatalf("latest is %s, which nobody pushed", at)
		}
	})
}

// TestOneCopy pushes the same to many repositories: one copy lies on disk.
func TestOneCopy(t *testing.T) {
	f := newFixture(t)
	img := newImage(t, "one", 2)
	for i := range 5 {
		f.pushImage(t, fmt.Sprint("repo", i), "v1", img)
	}
	f.wantOnDisk(t, img.blobs()...)
	f.do(t, "DELETE", "/v2/repo0/manifests/"+img.digest.String(), nil).want(t, http.StatusAccepted)
	f.clock.advance(DefaultGrace)
	must(t, f.reg.Sweep(t.Context()))
	f.collect(t)
	f.do(t, "GET", "/v2/repo0/blobs/"+img.manifest.Layers[0].Digest.String(), nil).want(t, http.StatusNotFound)
	f.wantPullable(t, "repo1", "v1", img)
}

// TestRun ends with its context, and leaves an upload that is open to be resumed.
func TestRun(t *testing.T) {
	f := newFixture(t)
	loc := f.do(t, "POST", "/v2/a/blobs/uploads/", nil).Header.Get("Location")
	f.do(t, "PATCH", loc, []byte("half ")).want(t, http.StatusAccepted)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.reg.Run(ctx) }()
	cancel()
	must(t, <-ended)
	g := f.restart(t)
	b := []byte("half and half")
	g.do(t, "PUT", loc+"?digest="+digest.FromBytes(b).String(), b[5:]).want(t, http.StatusCreated)
}
