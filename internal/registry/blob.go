package registry

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// readSize is how many bytes come from the content store at a time. It is a call of the runtime each.
const readSize = 1 << 20

// getBlob serves a blob: whole, in ranges, or not when the client has it.
func (r *Registry) getBlob(w http.ResponseWriter, req *http.Request, rt route) error {
	ctx := req.Context()
	unknown := problemf(http.StatusNotFound, codeBlobUnknown, "blob %s is not known in %s", rt.digest, rt.repo)
	shown, err := r.showsBlob(ctx, rt.repo, rt.digest)
	if err != nil {
		return err
	}
	if !shown {
		return unknown
	}
	ra, err := r.cfg.Content.ReaderAt(ctx, ocispec.Descriptor{Digest: rt.digest})
	if errdefs.IsNotFound(err) {
		return unknown
	}
	if err != nil {
		return fmt.Errorf("open blob %s: %w", rt.digest, err)
	}
	defer ra.Close()
	serveContent(w, req, rt.digest, "application/octet-stream", newBlobReader(ra))
	return nil
}

// serveContent answers with content that never changes, since its digest is its name.
func serveContent(w http.ResponseWriter, req *http.Request, d digest.Digest, mediaType string, body io.ReadSeeker) {
	h := w.Header()
	h.Set("Content-Type", mediaType)
	h.Set("Docker-Content-Digest", d.String())
	h.Set("Etag", `"`+d.String()+`"`)
	h.Set("X-Content-Type-Options", "nosniff") // a blob is whatever its pusher says
	http.ServeContent(w, req, "", noTime, body)
}

// deleteBlob takes back a blob that no manifest names. One that a manifest names goes with it, not before.
func (r *Registry) deleteBlob(w http.ResponseWriter, req *http.Request, rt route) error {
	ctx := req.Context()
	v, err := r.repoView(ctx, rt.repo, true)
	if err != nil {
		return err
	}
	if _, named := v.blobs[rt.digest]; named {
		if ok, err := r.exists(ctx, rt.digest); err != nil {
			return err
		} else if ok {
			return problemf(http.StatusMethodNotAllowed, codeUnsupported,
				"blob %s belongs to a manifest of %s: delete that first", rt.digest, rt.repo)
		}
	}
	if !r.unhold(ctx, rt.repo, rt.digest) {
		return problemf(http.StatusNotFound, codeBlobUnknown, "blob %s is not known in %s", rt.digest, rt.repo)
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// exists tells whether the content store has a blob.
func (r *Registry) exists(ctx context.Context, d digest.Digest) (bool, error) {
	_, err := r.cfg.Content.Info(ctx, d)
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look up blob %s: %w", d, err)
	}
	return true, nil
}

// readable tells whether a blob can be read through the repository.
func (r *Registry) readable(ctx context.Context, repo string, d digest.Digest) (bool, error) {
	if shown, err := r.showsBlob(ctx, repo, d); err != nil || !shown {
		return false, err
	}
	return r.exists(ctx, d)
}

// readableAnywhere tells whether a blob can be read through any repository.
func (r *Registry) readableAnywhere(ctx context.Context, d digest.Digest) (bool, error) {
	if ok, err := r.exists(ctx, d); err != nil || !ok {
		return false, err
	}
	if _, ok := r.holderOf(d); ok {
		return true, nil
	}
	repos, err := r.repositories(ctx)
	if err != nil {
		return false, err
	}
	for _, repo := range repos {
		if ok, err := r.showsBlob(ctx, repo, d); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

// blobReader reads a blob in large pieces and can seek in it. Seeking is free until the next read.
type blobReader struct {
	ra  content.ReaderAt
	pos int64
	buf *bufio.Reader // from pos on; nil after a seek
}

func newBlobReader(ra content.ReaderAt) *blobReader { return &blobReader{ra: ra} }

func (b *blobReader) Read(p []byte) (int, error) {
	if b.buf == nil {
		left := b.ra.Size() - b.pos
		size := int(min(max(left, 1), readSize))
		b.buf = bufio.NewReaderSize(io.NewSectionReader(b.ra, b.pos, max(left, 0)), size)
	}
	n, err := b.buf.Read(p)
	b.pos += int64(n)
	return n, err
}

func (b *blobReader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += b.pos
	case io.SeekEnd:
		offset += b.ra.Size()
	}
	if offset < 0 {
		return 0, fmt.Errorf("seek to byte %d of a blob", offset)
	}
	b.pos, b.buf = offset, nil
	return offset, nil
}
