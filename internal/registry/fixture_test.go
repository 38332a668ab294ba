package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/content/proxy"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/containerd/v2/plugins/services/content/contentserver"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	bolt "go.etcd.io/bbolt"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

const testNamespace = "ikada-test"

// runtime is a containerd's content, image and lease stores, in this process.
type runtime struct {
	dir     string
	db      *metadata.DB
	content content.Store
	images  images.Store
	leases  leases.Manager
}

func newRuntime(t testing.TB) *runtime {
	t.Helper()
	dir := t.TempDir()
	blobs, err := local.NewStore(filepath.Join(dir, "content"))
	must(t, err)
	bdb, err := bolt.Open(filepath.Join(dir, "meta.db"), 0o600, &bolt.Options{NoSync: true})
	must(t, err)
	t.Cleanup(func() { must(t, bdb.Close()) })
	db := metadata.NewDB(bdb, blobs, nil)
	must(t, db.Init(t.Context()))
	return &runtime{
		dir:     dir,
		db:      db,
		content: db.ContentStore(),
		images:  metadata.NewImageStore(db),
		leases:  metadata.NewLeaseManager(db),
	}
}

// collect runs the runtime's garbage collector, to the end.
func (rt *runtime) collect(t testing.TB) {
	t.Helper()
	_, err := rt.db.GarbageCollect(t.Context())
	must(t, err)
}

// onDisk gives the digests of the blobs that lie on disk, and the number of unfinished ingests.
func (rt *runtime) onDisk(t testing.TB) (map[digest.Digest]bool, int) {
	t.Helper()
	blobs := map[digest.Digest]bool{}
	root := filepath.Join(rt.dir, "content", "blobs")
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path == root {
			return nil
		}
		if err != nil || e.IsDir() {
			return err
		}
		alg := filepath.Base(filepath.Dir(path))
		blobs[digest.NewDigestFromEncoded(digest.Algorithm(alg), e.Name())] = true
		return nil
	})
	must(t, err)
	ingests, err := os.ReadDir(filepath.Join(rt.dir, "content", "ingest"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return blobs, len(ingests)
}

// remote gives the same runtime with its content store behind gRPC, as a client of containerd's daemon has it.
func (rt *runtime) remote(t testing.TB) *runtime {
	t.Helper()
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	must(t, err)
	srv := grpc.NewServer()
	contentapi.RegisterContentServer(srv, contentserver.New(rt.content))
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	conn, err := grpc.NewClient("unix://"+ln.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(t, err)
	t.Cleanup(func() {
		must(t, conn.Close())
		srv.Stop()
		must(t, <-served)
	})
	far := *rt
	far.content = proxy.NewContentStore(conn)
	return &far
}

// eachStore runs a test on the content store in this process and on one behind gRPC.
func eachStore(t *testing.T, run func(t *testing.T, f *fixture)) {
	t.Run("local", func(t *testing.T) { run(t, newFixture(t)) })
	t.Run("remote", func(t *testing.T) {
		run(t, newFixtureOn(t, newRuntime(t).remote(t), &clock{now: time.Now()}))
	})
}

func testContext(t testing.TB) context.Context {
	return namespaces.WithNamespace(t.Context(), testNamespace)
}

// clock is a time that only moves when told to.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// fixture is a registry on a runtime behind an HTTP server.
type fixture struct {
	*runtime
	reg   *Registry
	clock *clock
	url   string
	host  string
	stop  func() // ends the server and what it works on
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	return newFixtureOn(t, newRuntime(t), &clock{now: time.Now()})
}

// newFixtureOn starts a registry on a runtime that may have served another before: a restart.
func newFixtureOn(t testing.TB, rt *runtime, c *clock) *fixture {
	t.Helper()
	reg, err := New(Config{
		Content: rt.content, Images: rt.images, Leases: rt.leases,
		Namespace: testNamespace, Now: c.Now, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	must(t, err)
	srv := httptest.NewServer(reg)
	stop := sync.OnceFunc(func() {
		srv.Close()
		reg.closeWriters(0) // as a process that dies closes its files
	})
	t.Cleanup(stop)
	return &fixture{stop: stop, runtime: rt, reg: reg, clock: c, url: srv.URL, host: strings.TrimPrefix(srv.URL, "http://")}
}

// restart gives the registry as it is after its process was replaced.
func (f *fixture) restart(t testing.TB) *fixture {
	t.Helper()
	f.stop()
	return newFixtureOn(t, f.runtime, f.clock)
}

// answer is a response that was read to its end.
type answer struct {
	*http.Response
	body []byte
}

// codes gives the error codes of an answer.
func (a answer) codes(t testing.TB) []string {
	t.Helper()
	var v struct {
		Errors []struct{ Code, Message string }
	}
	must(t, json.Unmarshal(a.body, &v))
	var codes []string
	for _, e := range v.Errors {
		codes = append(codes, e.Code)
	}
	return codes
}

// do sends a request; header is name, value, name, value, …
func (f *fixture) do(t testing.TB, method, path string, body []byte, header ...string) answer {
	t.Helper()
	var rd io.Reader
	if body != nil {
		rd = bytes.NewReader(body)
	}
	return f.send(t, method, path, rd, header...)
}

func (f *fixture) send(t testing.TB, method, path string, body io.Reader, header ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, f.url+path, body)
	must(t, err)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	must(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	must(t, err)
	return answer{resp, b}
}

// want fails unless the answer has the status, and with a code that error.
func (a answer) want(t testing.TB, status int, code ...string) answer {
	t.Helper()
	if a.StatusCode != status {
		t.Fatalf("%s %s: status %d, want %d: %s", a.Request.Method, a.Request.URL, a.StatusCode, status, a.body)
	}
	if len(code) > 0 {
		if got := a.codes(t); len(got) == 0 || got[0] != code[0] {
			t.Fatalf("%s %s: errors %v, want %v", a.Request.Method, a.Request.URL, got, code)
		}
	}
	return a
}

// wantHeader fails unless the answer has the header.
func (a answer) wantHeader(t testing.TB, name, value string) answer {
	t.Helper()
	if got := a.Header.Get(name); got != value {
		t.Fatalf("%s %s: %s is %q, want %q", a.Request.Method, a.Request.URL, name, got, value)
	}
	return a
}

// pushBlob pushes a blob in one request and gives its descriptor.
func (f *fixture) pushBlob(t testing.TB, repo string, b []byte) ocispec.Descriptor {
	t.Helper()
	return f.pushBlobAs(t, repo, b, digest.SHA256)
}

func (f *fixture) pushBlobAs(t testing.TB, repo string, b []byte, alg digest.Algorithm) ocispec.Descriptor {
	t.Helper()
	d := alg.FromBytes(b)
	if b == nil {
		b = []byte{}
	}
	f.do(t, "POST", fmt.Sprintf("/v2/%s/blobs/uploads/?digest=%s", repo, d), b).want(t, http.StatusCreated)
	return ocispec.Descriptor{MediaType: "application/octet-stream", Digest: d, Size: int64(len(b))}
}

// testImage is an image of random layers, not pushed yet.
type testImage struct {
	config   []byte
	layers   [][]byte
	manifest ocispec.Manifest
	raw      []byte
	digest   digest.Digest
}

// newImage makes an image whose content depends on seed.
func newImage(t testing.TB, seed string, layers int, change ...func(*ocispec.Manifest)) *testImage {
	t.Helper()
	img := &testImage{config: fmt.Appendf(nil, `{"os":"linux","architecture":"amd64","seed":%q}`, seed)}
	img.manifest = ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest,
		Config:    descriptor(ocispec.MediaTypeImageConfig, img.config),
		Layers:    []ocispec.Descriptor{},
	}
	for i := range layers {
		l := bytes.Repeat(fmt.Appendf(nil, "%s layer %d\n", seed, i), 100)
		img.layers = append(img.layers, l)
		img.manifest.Layers = append(img.manifest.Layers, descriptor(ocispec.MediaTypeImageLayer, l))
	}
	for _, c := range change {
		c(&img.manifest)
	}
	img.raw = encode(t, img.manifest)
	img.digest = digest.FromBytes(img.raw)
	return img
}

func descriptor(mediaType string, b []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(b), Size: int64(len(b))}
}

func (img *testImage) descriptor() ocispec.Descriptor {
	return descriptor(img.manifest.MediaType, img.raw)
}

// blobs gives the digests of everything that the image consists of.
func (img *testImage) blobs() []digest.Digest {
	all := []digest.Digest{img.digest, img.manifest.Config.Digest}
	for _, l := range img.manifest.Layers {
		all = append(all, l.Digest)
	}
	return all
}

// pushImage pushes the blobs and the manifest of an image.
func (f *fixture) pushImage(t testing.TB, repo, ref string, img *testImage) answer {
	t.Helper()
	f.pushBlobs(t, repo, img)
	return f.putManifest(t, repo, ref, img.manifest.MediaType, img.raw).want(t, http.StatusCreated)
}

func (f *fixture) pushBlobs(t testing.TB, repo string, img *testImage) {
	t.Helper()
	f.pushBlob(t, repo, img.config)
	for _, l := range img.layers {
		f.pushBlob(t, repo, l)
	}
}

func (f *fixture) putManifest(t testing.TB, repo, ref, mediaType string, raw []byte) answer {
	t.Helper()
	return f.do(t, "PUT", "/v2/"+repo+"/manifests/"+ref, raw, "Content-Type", mediaType)
}

func encode(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	must(t, err)
	return b
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
