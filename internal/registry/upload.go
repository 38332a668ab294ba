package registry

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// uploadLease is the expiry of an upload's lease. A lease cannot be prolonged, so it is far off: Sweep ends the
	// uploads that are untouched for Config.UploadTTL, and this is for when Sweep never runs again.
	uploadLease = 7 * 24 * time.Hour

	// uploadWait is how long a request waits for another that works on the same upload.
	uploadWait = 10 * time.Second

	// writeSize is how many bytes go to the content store at a time. It is a call of the runtime each.
	writeSize = 1 << 20
)

// upload is a blob on its way in. Its bytes lie in an ingest of the content store, which outlives this process as its
// lease does; the writer is kept open between requests, since opening it again reads all that was written.
type upload struct {
	id   string
	repo string
	sem  chan struct{} // capacity 1: who works on it

	// guarded by sem
	w      content.Writer
	close  context.CancelFunc // ends w's context
	offset int64              // bytes written, while w is open
	done   bool               // committed or given up

	touched time.Time // last request; guarded by Registry.mu
}

func newUpload(id, repo string) *upload {
	return &upload{id: id, repo: repo, sem: make(chan struct{}, 1)}
}

func (u *upload) lease() string { return "ikada-upload-" + u.id }
func (u *upload) ref() string   { return "ikada-upload-" + u.id }

// startUpload begins an upload and gives it to the caller to work on.
func (r *Registry) startUpload(ctx context.Context, repo string) (*upload, error) {
	u := newUpload(newUUID(), repo)
	u.sem <- struct{}{}
	now := r.cfg.Now()
	_, err := r.cfg.Leases.Create(ctx, leases.WithID(u.lease()), leases.WithLabels(map[string]string{
		labelRepository: repo,
		labelUpload:     u.id,
		labelExpire:     now.Add(uploadLease).UTC().Format(time.RFC3339),
	}))
	if err != nil {
		return nil, fmt.Errorf("create lease of upload: %w", err)
	}
	u.touched = now
	r.mu.Lock()
	r.uploads[u.id] = u
	r.mu.Unlock()
	return u, nil
}

// takeUpload gives an upload to the caller to work on, who hands it back with releaseUpload.
func (r *Registry) takeUpload(ctx context.Context, rt route) (*upload, error) {
	r.mu.Lock()
	u := r.uploads[rt.upload]
	r.mu.Unlock()
	unknown := problemf(http.StatusNotFound, codeBlobUploadUnknown, "upload %q is not known in %s", rt.upload, rt.repo)
	if u == nil || u.repo != rt.repo {
		return nil, unknown
	}
	wait := time.NewTimer(uploadWait)
	defer wait.Stop()
	select {
	case u.sem <- struct{}{}:
	case <-wait.C:
		return nil, problemf(http.StatusTooManyRequests, codeTooManyRequests, "upload %s is busy with another request", u.id)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if u.done {
		<-u.sem
		return nil, unknown
	}
	if err := r.openUpload(ctx, u); err != nil {
		<-u.sem
		if errdefs.IsNotFound(err) { // its lease has ended
			r.forgetUpload(u)
			return nil, unknown
		}
		return nil, err
	}
	return u, nil
}

func (r *Registry) releaseUpload(u *upload) {
	r.mu.Lock()
	u.touched = r.cfg.Now()
	r.mu.Unlock()
	<-u.sem
}

func (r *Registry) forgetUpload(u *upload) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.uploads, u.id)
}

// openUpload opens the upload's writer where it left off.
func (r *Registry) openUpload(ctx context.Context, u *upload) error {
	if u.w != nil {
		return nil
	}
	ctx, done := context.WithTimeout(ctx, uploadWait)
	defer done()
	wctx, cancel := context.WithCancel(namespaces.WithNamespace(context.Background(), r.cfg.Namespace))
	wctx = leases.WithLease(wctx, u.lease())
	stop := context.AfterFunc(ctx, cancel) // OpenWriter waits while a writer that broke off is still being closed
	w, err := content.OpenWriter(wctx, r.cfg.Content, content.WithRef(u.ref()))
	if err == nil && !stop() {
		w.Close()
		err = ctx.Err()
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = problemf(http.StatusTooManyRequests, codeTooManyRequests, "upload %s is still being written", u.id)
	}
	if err != nil {
		cancel()
		return fmt.Errorf("open upload %s: %w", u.id, err)
	}
	st, err := w.Status() // a remote writer learns its offset and digest with it
	if err != nil {
		w.Close()
		cancel()
		return fmt.Errorf("read state of upload %s: %w", u.id, err)
	}
	u.w, u.close, u.offset = w, cancel, st.Offset
	return nil
}

// shut closes the writer and leaves what was written to be resumed.
func (u *upload) shut() {
	if u.w == nil {
		return
	}
	u.w.Close()
	u.close()
	u.w, u.close = nil, nil
}

// errBody says that the client's bytes ended before they should have.
var errBody = errors.New("body broke off")

// write appends a body to the upload. Whatever arrives is kept, also when the body breaks off.
func (r *Registry) write(u *upload, body io.Reader) error {
	buf := make([]byte, writeSize)
	for {
		n, rerr := fill(body, buf)
		if n > 0 {
			m, err := u.w.Write(buf[:n])
			u.offset += int64(m)
			if err != nil {
				u.shut() // the next request asks the store how far it came
				return fmt.Errorf("write upload %s: %w", u.id, err)
			}
		}
		switch {
		case rerr == io.EOF: //nolint:errorlint // wrapped it would be a connection that broke
			return nil
		case rerr != nil:
			return fmt.Errorf("upload %s at byte %d: %w: %w", u.id, u.offset, errBody, rerr)
		}
	}
}

// fill reads until buf is full or the reader ends. Unlike io.ReadFull it gives the reader's own error, which tells the
// end of a body from a connection that broke.
func fill(r io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var m int
		m, err = r.Read(buf[n:])
		n += m
	}
	return n, err
}

// commitUpload makes the upload the blob d of its repository. The upload has ended afterwards, unless the failure is
// the runtime's.
func (r *Registry) commitUpload(ctx context.Context, u *upload, d digest.Digest) error {
	ctx = r.background(ctx) // the client has sent everything: its hanging up now must not leave half of this
	ok, err := r.proves(ctx, u, d)
	if err != nil {
		return err
	}
	if !ok {
		r.abortUpload(ctx, u)
		return problemf(http.StatusBadRequest, codeDigestInvalid, "the bytes uploaded do not have the digest %s", d)
	}
	h, err := r.newHold(ctx, u.repo, d)
	if err != nil {
		return err
	}
	err = u.w.Commit(leases.WithLease(ctx, u.lease()), u.offset, d)
	u.close()
	u.w, u.close = nil, nil
	if err != nil && !errdefs.IsAlreadyExists(err) {
		r.dropLease(ctx, h.lease)
		if errdefs.IsFailedPrecondition(err) {
			r.abortUpload(ctx, u)
			return problemf(http.StatusBadRequest, codeDigestInvalid, "the bytes uploaded do not have the digest %s", d)
		}
		return fmt.Errorf("commit upload %s: %w", u.id, err)
	}
	r.show(ctx, u.repo, d, h)
	r.abortUpload(ctx, u) // its lease; the ingest went with the commit
	return nil
}

// proves tells whether the upload may have the digest d. The content store gives away without a look at the bytes that
// it has d already; so that nobody gains a blob by knowing its digest, the bytes are compared here.
func (r *Registry) proves(ctx context.Context, u *upload, d digest.Digest) (bool, error) {
	have := u.w.Digest()
	if have == "" || have.Algorithm() == d.Algorithm() {
		return have == d, nil
	}
	ra, err := r.cfg.Content.ReaderAt(ctx, ocispec.Descriptor{Digest: d})
	if errdefs.IsNotFound(err) {
		return true, nil // then the commit hashes the bytes
	}
	if err != nil {
		return false, fmt.Errorf("open blob %s: %w", d, err)
	}
	defer ra.Close()
	if ra.Size() != u.offset {
		return false, nil
	}
	known, err := have.Algorithm().FromReader(newBlobReader(ra))
	if err != nil {
		return false, fmt.Errorf("read blob %s: %w", d, err)
	}
	return known == have, nil
}

// abortUpload ends an upload and throws away what came in. The caller works on it.
func (r *Registry) abortUpload(ctx context.Context, u *upload) {
	ctx = r.background(ctx)
	u.shut()
	u.done = true
	r.forgetUpload(u)
	if err := r.abortIngest(ctx, u.ref()); err != nil {
		r.log.Warn("upload not removed", "upload", u.id, "err", err)
	}
	r.dropLease(ctx, u.lease())
}

// abortIngest removes an ingest. A writer behind gRPC is still being closed after Close, and while it notes its time
// in the ingest's directory this cannot be removed: so it is tried again for about a second. What is left even then
// goes with the lease at the next collection.
func (r *Registry) abortIngest(ctx context.Context, ref string) error {
	for wait := 2 * time.Millisecond; ; wait *= 2 {
		err := r.cfg.Content.Abort(ctx, ref)
		if err == nil || errdefs.IsNotFound(err) {
			return nil
		}
		if wait > time.Second {
			return err
		}
		time.Sleep(wait)
	}
}

// newUUID gives a random UUID of version 4 (RFC 9562), which the specification asks an upload's location to hold.
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
