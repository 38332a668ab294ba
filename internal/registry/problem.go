package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/containerd/errdefs"

	"github.com/ikada/ikada/api"
)

// The error codes of the distribution specification.
const (
	codeBlobUnknown         = "BLOB_UNKNOWN"
	codeBlobUploadInvalid   = "BLOB_UPLOAD_INVALID"
	codeBlobUploadUnknown   = "BLOB_UPLOAD_UNKNOWN"
	codeDigestInvalid       = "DIGEST_INVALID"
	codeManifestBlobUnknown = "MANIFEST_BLOB_UNKNOWN"
	codeManifestInvalid     = "MANIFEST_INVALID"
	codeManifestUnknown     = "MANIFEST_UNKNOWN"
	codeNameInvalid         = "NAME_INVALID"
	codeNameUnknown         = "NAME_UNKNOWN"
	codeSizeInvalid         = "SIZE_INVALID"
	codeUnauthorized        = "UNAUTHORIZED"
	codeDenied              = "DENIED"
	codeUnsupported         = "UNSUPPORTED"
	codeTooManyRequests     = "TOOMANYREQUESTS"
	codeUnknown             = "UNKNOWN" // of the Docker registry, for failures of the server
)

// problem is an error that the client is told of as it is.
type problem struct {
	status int
	errs   []errorEntry
}

type errorEntry struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Detail  any    `json:"detail,omitempty"`
}

func (p *problem) Error() string {
	return fmt.Sprintf("%s: %s", p.errs[0].Code, p.errs[0].Message)
}

func problemf(status int, code, format string, args ...any) error {
	return &problem{status: status, errs: []errorEntry{{Code: code, Message: fmt.Sprintf(format, args...)}}}
}

// denied turns what Config.Auth said into an answer.
func denied(err error) error {
	if api.IsKind(err, api.Unauthorized) {
		return problemf(http.StatusUnauthorized, codeUnauthorized, "%v", err)
	}
	return problemf(http.StatusForbidden, codeDenied, "%v", err)
}

// fail answers with an error: a problem as it is, anything else as a failure of the server, which is logged.
func (r *Registry) fail(w http.ResponseWriter, req *http.Request, err error) {
	p, ok := errors.AsType[*problem](err)
	if !ok {
		if req.Context().Err() != nil {
			return // nobody listens any more
		}
		status := http.StatusInternalServerError
		switch {
		case errdefs.IsUnavailable(err):
			status = http.StatusServiceUnavailable
		case errdefs.IsResourceExhausted(err):
			status = http.StatusInsufficientStorage
		}
		r.log.Error("registry request failed", "method", req.Method, "path", req.URL.Path, "err", err)
		p = &problem{status: status, errs: []errorEntry{{Code: codeUnknown, Message: err.Error()}}}
	}
	if p.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Basic realm="ikada", charset="UTF-8"`)
	}
	body := struct {
		Errors []errorEntry `json:"errors"`
	}{p.errs}
	if err := writeJSON(w, p.status, "application/json", body); err != nil {
		r.log.Debug("error answer not written", "err", err)
	}
}

func writeJSON(w http.ResponseWriter, status int, mediaType string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Content-Length", fmt.Sprint(len(b)))
	w.WriteHeader(status)
	_, _ = w.Write(b) // the client is gone: nothing is left to tell it
	return nil
}
