package registry

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
)

// postUpload mounts a blob, takes one whole, or begins an upload.
func (r *Registry) postUpload(w http.ResponseWriter, req *http.Request, rt route) error {
	q := req.URL.Query()
	if a := q.Get("digest-algorithm"); a != "" && a != "sha256" && a != "sha512" {
		return problemf(http.StatusBadRequest, codeDigestInvalid, "digest-algorithm %q: expected sha256 or sha512", a)
	}
	if s := q.Get("mount"); s != "" {
		d, err := parseDigest(s)
		if err != nil {
			return err
		}
		mounted, err := r.mount(req, rt.repo, q.Get("from"), d)
		if err != nil {
			return err
		}
		if mounted {
			return blobCreated(w, rt.repo, d)
		}
	}
	var whole digest.Digest
	if s := q.Get("digest"); s != "" {
		d, err := parseDigest(s)
		if err != nil {
			return err
		}
		whole = d
	}
	u, err := r.startUpload(req.Context(), rt.repo)
	if err != nil {
		return err
	}
	defer r.releaseUpload(u)
	if whole == "" {
		return uploadAnswer(w, u, http.StatusAccepted)
	}
	if err := r.openUpload(req.Context(), u); err != nil {
		r.abortUpload(req.Context(), u)
		return err
	}
	if err := r.write(u, req.Body); err != nil {
		r.abortUpload(req.Context(), u) // the client never learnt where to go on
		return badBody(err)
	}
	if err := r.commitUpload(req.Context(), u, whole); err != nil {
		r.abortUpload(req.Context(), u)
		return err
	}
	return blobCreated(w, rt.repo, whole)
}

// mount shows a blob of another repository in this one; with no other named, of any.
func (r *Registry) mount(req *http.Request, repo, from string, d digest.Digest) (bool, error) {
	ctx := req.Context()
	if from != "" && !validRepo(from) {
		return false, problemf(http.StatusBadRequest, codeNameInvalid, "from %q: expected %s", from, repoRule)
	}
	// The hold comes first: whatever is seen to exist after it stays.
	h, err := r.newHold(ctx, repo, d)
	if err != nil {
		return false, err
	}
	var found bool
	if from != "" {
		found, err = r.readable(ctx, from, d)
	} else {
		found, err = r.readableAnywhere(ctx, d)
	}
	if err != nil || !found {
		r.dropLease(ctx, h.lease)
		return false, err
	}
	r.show(ctx, repo, d, h)
	return true, nil
}

// getUpload tells how far an upload came.
func (r *Registry) getUpload(w http.ResponseWriter, req *http.Request, rt route) error {
	u, err := r.takeUpload(req.Context(), rt)
	if err != nil {
		return err
	}
	defer r.releaseUpload(u)
	return uploadAnswer(w, u, http.StatusNoContent)
}

// patchUpload appends a chunk, or with no Content-Range a stream.
func (r *Registry) patchUpload(w http.ResponseWriter, req *http.Request, rt route) error {
	u, err := r.takeUpload(req.Context(), rt)
	if err != nil {
		return err
	}
	defer r.releaseUpload(u)
	if err := r.appendBody(w, req, u); err != nil {
		return err
	}
	return uploadAnswer(w, u, http.StatusAccepted)
}

// putUpload appends what is left and makes the upload a blob.
func (r *Registry) putUpload(w http.ResponseWriter, req *http.Request, rt route) error {
	d, err := parseDigest(req.URL.Query().Get("digest"))
	if err != nil {
		return err
	}
	u, err := r.takeUpload(req.Context(), rt)
	if err != nil {
		return err
	}
	defer r.releaseUpload(u)
	if err := r.appendBody(w, req, u); err != nil {
		return err
	}
	if err := r.commitUpload(req.Context(), u, d); err != nil {
		return err
	}
	return blobCreated(w, rt.repo, d)
}

// deleteUpload gives an upload up.
func (r *Registry) deleteUpload(w http.ResponseWriter, req *http.Request, rt route) error {
	u, err := r.takeUpload(req.Context(), rt)
	if err != nil {
		return err
	}
	defer r.releaseUpload(u)
	r.abortUpload(req.Context(), u)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// appendBody appends the request's body, which must begin where the upload stands.
func (r *Registry) appendBody(w http.ResponseWriter, req *http.Request, u *upload) error {
	body := io.Reader(req.Body)
	size := int64(-1)
	if s := req.Header.Get("Content-Range"); s != "" {
		first, last, err := parseContentRange(s)
		if err != nil {
			return err
		}
		if first != u.offset {
			setUploadHeaders(w, u)
			return problemf(http.StatusRequestedRangeNotSatisfiable, codeBlobUploadInvalid,
				"chunk begins at byte %d, expected %d", first, u.offset)
		}
		size = last - first + 1
		if req.ContentLength >= 0 && req.ContentLength != size {
			return problemf(http.StatusBadRequest, codeSizeInvalid,
				"Content-Range %q has %d bytes, Content-Length says %d", s, size, req.ContentLength)
		}
		body = io.LimitReader(body, size)
	}
	start := u.offset
	if err := r.write(u, body); err != nil {
		return badBody(err)
	}
	if size >= 0 && u.offset-start != size {
		return problemf(http.StatusBadRequest, codeSizeInvalid,
			"chunk has %d bytes, its Content-Range %d", u.offset-start, size)
	}
	return nil
}

// badBody blames the client for a body that broke off; most of them are not there any more to hear it.
func badBody(err error) error {
	if errors.Is(err, errBody) {
		return problemf(http.StatusBadRequest, codeBlobUploadInvalid, "%v", err)
	}
	return err
}

// parseContentRange reads the specification's "first-last", both inclusive; "bytes=", "bytes " and "/total", which some
// clients add after RFC 9110, are let through.
func parseContentRange(s string) (first, last int64, err error) {
	bad := problemf(http.StatusBadRequest, codeBlobUploadInvalid, "Content-Range %q: expected FIRST-LAST", s)
	t := strings.TrimPrefix(strings.TrimPrefix(s, "bytes="), "bytes ")
	t, _, _ = strings.Cut(t, "/")
	a, b, ok := strings.Cut(t, "-")
	if !ok {
		return 0, 0, bad
	}
	f, errF := strconv.ParseUint(a, 10, 62)
	l, errL := strconv.ParseUint(b, 10, 62)
	if errF != nil || errL != nil || l < f {
		return 0, 0, bad
	}
	return int64(f), int64(l), nil
}

func setUploadHeaders(w http.ResponseWriter, u *upload) {
	h := w.Header()
	h.Set("Location", fmt.Sprintf("/v2/%s/blobs/uploads/%s", u.repo, u.id))
	h.Set("Range", fmt.Sprintf("0-%d", max(u.offset-1, 0))) // "0-0" for none yet: the grammar has nothing else
	h.Set("Docker-Upload-UUID", u.id)
}

func uploadAnswer(w http.ResponseWriter, u *upload, status int) error {
	setUploadHeaders(w, u)
	if status != http.StatusNoContent {
		w.Header().Set("Content-Length", "0")
	}
	w.WriteHeader(status)
	return nil
}

func blobCreated(w http.ResponseWriter, repo string, d digest.Digest) error {
	h := w.Header()
	h.Set("Location", fmt.Sprintf("/v2/%s/blobs/%s", repo, d))
	h.Set("Docker-Content-Digest", d.String())
	h.Set("Content-Length", "0")
	w.WriteHeader(http.StatusCreated)
	return nil
}
