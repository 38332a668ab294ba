package registry

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// What nothing names goes in the end, by the runtime's own garbage collector; what anything needs stays.

// referringTo makes an image a referrer.
func referringTo(subject ocispec.Descriptor) func(*ocispec.Manifest) {
	return func(m *ocispec.Manifest) { m.Subject, m.ArtifactType = &subject, "application/vnd.signature" }
}

func indexOf(t testing.TB, of ...ocispec.Descriptor) []byte {
	return encode(t, ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageIndex, Manifests: of})
}

// pushByDigest pushes images with no tag.
func (f *fixture) pushByDigest(t testing.TB, repo string, all ...*testImage) {
	t.Helper()
	for _, img := range all {
		f.pushImage(t, repo, img.digest.String(), img)
	}
}

// removeUntagged lets go of what is not needed, and fails unless that is these images of the repository.
func (f *fixture) removeUntagged(t testing.TB, repo string, needed map[string]bool, want ...digest.Digest) {
	t.Helper()
	var names []string
	for _, d := range want {
		names = append(names, digestName(repo, d))
	}
	slices.Sort(names)
	for _, dry := range []bool{true, false} {
		got, err := f.reg.RemoveUntagged(t.Context(), func() (map[string]bool, bool) { return needed, true }, dry)
		must(t, err)
		if !slices.Equal(got, names) {
			t.Fatalf("dry %t: removed\n%v\nwant\n%v", dry, got, names)
		}
	}
	f.clock.advance(DefaultGrace) // the holds of the pushes end
	must(t, f.reg.Sweep(t.Context()))
	f.collect(t)
}

func TestRemoveUntagged(t *testing.T) {
	f := newFixture(t)
	tagged, moved, running, loose := newImage(t, "tagged", 2), newImage(t, "moved", 2), newImage(t, "running", 2), newImage(t, "loose", 2)
	f.pushImage(t, "app", "v1", tagged)
	f.pushImage(t, "app", "latest", running)
	f.pushImage(t, "app", "latest", moved) // the tag was overwritten: a release runs what it named
	f.pushImage(t, "app", "latest", tagged)
	f.pushByDigest(t, "app", loose)
	needed := map[string]bool{digestName("app", running.digest): true}

	f.removeUntagged(t, "app", needed) // all are young
	f.clock.advance(DefaultKeepUntagged)
	if got, err := f.reg.RemoveUntagged(t.Context(), func() (map[string]bool, bool) { return nil, false }, false); err != nil || len(got) > 0 {
		t.Fatalf("removed %v, %v while what is needed was not known", got, err)
	}
	f.removeUntagged(t, "app", needed, moved.digest, loose.digest)
	f.wantOnDisk(t, append(tagged.blobs(), running.blobs()...)...)
	f.wantPullable(t, "app", running.digest.String(), running)
	f.wantPullable(t, "app", "latest", tagged)
	f.do(t, "GET", "/v2/app/manifests/"+loose.digest.String(), nil).want(t, http.StatusNotFound, codeManifestUnknown)

	f.removeUntagged(t, "app", nil, running.digest) // its release is gone
	f.wantOnDisk(t, tagged.blobs()...)
}

func TestRemoveUntaggedIndex(t *testing.T) {
	f := newFixture(t)
	a, b := newImage(t, "amd64", 1), newImage(t, "arm64", 1)
	f.pushByDigest(t, "app", a, b)
	raw := indexOf(t, a.descriptor(), b.descriptor())
	index := digest.FromBytes(raw)
	f.putManifest(t, "app", "multi", ocispec.MediaTypeImageIndex, raw).want(t, http.StatusCreated)
	f.clock.advance(DefaultKeepUntagged + time.Minute)
	f.removeUntagged(t, "app", nil)
	f.do(t, "DELETE", "/v2/app/manifests/multi", nil).want(t, http.StatusAccepted)
	f.removeUntagged(t, "app", map[string]bool{digestName("app", index): true}) // pinned as the index
	f.wantPullable(t, "app", b.digest.String(), b)
	f.removeUntagged(t, "app", nil, index, a.digest, b.digest)
	f.wantOnDisk(t)
}

func TestRemoveUntaggedReferrers(t *testing.T) {
	f := newFixture(t)
	subject := newImage(t, "subject", 1)
	signature := newImage(t, "signature", 1, referringTo(subject.descriptor()))
	countersigned := newImage(t, "signature of the signature", 1, referringTo(signature.descriptor()))
	stray := newImage(t, "stray", 1, referringTo(newImage(t, "never pushed", 1).descriptor()))
	f.pushImage(t, "app", "v1", subject)
	f.pushByDigest(t, "app", countersigned, signature, stray)
	f.clock.advance(DefaultKeepUntagged + time.Minute)
	f.removeUntagged(t, "app", nil, stray.digest)
	f.do(t, "DELETE", "/v2/app/manifests/v1", nil).want(t, http.StatusAccepted)
	f.removeUntagged(t, "app", map[string]bool{digestName("app", subject.digest): true})
	f.wantOnDisk(t, slices.Concat(subject.blobs(), signature.blobs(), countersigned.blobs())...)
	f.removeUntagged(t, "app", nil, subject.digest, signature.digest, countersigned.digest)
	f.wantOnDisk(t)
}

// TestRemoveUntaggedForeign leaves alone what others put there, and what is signed of it.
func TestRemoveUntaggedForeign(t *testing.T) {
	f := newFixture(t)
	f.reg.cfg.Foreign = func(labels map[string]string) bool { return labels["made-by"] != "" }
	built := newImage(t, "built", 1)
	signature := newImage(t, "signature", 1, referringTo(built.descriptor()))
	f.pushByDigest(t, "app", built, signature)
	_, err := f.images.Update(testContext(t), images.Image{Name: digestName("app", built.digest), Target: built.descriptor(),
		Labels: map[string]string{"made-by": "a build"}}, "labels")
	must(t, err)
	_, err = f.images.Create(testContext(t), images.Image{Name: "docker.io/library/app@" + built.digest.String(), Target: built.descriptor()})
	must(t, err)
	f.clock.advance(DefaultKeepUntagged + time.Minute)
	f.removeUntagged(t, "app", nil)
	must(t, f.images.Delete(testContext(t), digestName("app", built.digest)))
	f.removeUntagged(t, "app", nil, signature.digest)
	f.wantOnDisk(t, built.blobs()...) // another's name for it holds it

	// what a user pushes over it is the user's
	_, err = f.images.Create(testContext(t), images.Image{Name: tagName("app", "latest"), Target: built.descriptor(),
		Labels: map[string]string{"made-by": "a build"}})
	must(t, err)
	f.pushImage(t, "app", "latest", newImage(t, "pushed", 1))
	entry, err := f.images.Get(testContext(t), tagName("app", "latest"))
	must(t, err)
	if len(entry.Labels) > 0 {
		t.Errorf("labels of a pushed image: %v", entry.Labels)
	}
}

// TestUntaggedTime begins the time without a tag when the tag goes, not when the image was pushed.
func TestUntaggedTime(t *testing.T) {
	f := newFixture(t)
	v1, v2 := newImage(t, "v1", 1), newImage(t, "v2", 1)
	f.pushImage(t, "app", "latest", v1)
	times := map[string]time.Time{}
	since := func(img *testImage) time.Time {
		t.Helper()
		entry, err := f.images.Get(testContext(t), digestName("app", img.digest))
		must(t, err)
		return entry.UpdatedAt
	}
	times["pushed"] = since(v1)
	f.pushImage(t, "app", "latest", v2)
	times["tag moved"] = since(v1)
	f.do(t, "PUT", "/v2/app/manifests/old", v1.raw, "Content-Type", v1.manifest.MediaType).want(t, http.StatusCreated)
	times["pushed again"] = since(v1)
	f.do(t, "DELETE", "/v2/app/manifests/old", nil).want(t, http.StatusAccepted)
	times["tag deleted"] = since(v1)
	inOrder := []string{"pushed", "tag moved", "pushed again", "tag deleted"}
	for i, what := range inOrder[1:] {
		if !times[what].After(times[inOrder[i]]) {
			t.Errorf("%s does not begin the time anew: %v", what, times)
		}
	}
}
