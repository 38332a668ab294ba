package registry

import (
	"net/http"
	"strings"

	"github.com/opencontainers/go-digest"
)

// resource is what a path below /v2/ names.
type resource int

const (
	resourceBase resource = iota
	resourceCatalog
	resourceTags
	resourceReferrers
	resourceBlob
	resourceUploads
	resourceUpload
	resourceManifest
)

// route is a path taken apart. Repo is valid where it is set, and so are Digest and Tag.
type route struct {
	kind   resource
	repo   string
	digest digest.Digest // of a blob, of a manifest known by digest, of a referrers' subject
	tag    string        // of a manifest known by tag
	upload string        // ID
}

// parsePath reads a path from its right end, since a repository's name may hold any of the words that follow it.
func parsePath(path string) (route, error) {
	rest, ok := strings.CutPrefix(path, "/v2/")
	switch {
	case path == "/v2" || ok && rest == "":
		return route{kind: resourceBase}, nil
	case !ok:
		return route{}, problemf(http.StatusNotFound, codeNameUnknown, "%q is not below /v2/", path)
	case rest == "_catalog":
		return route{kind: resourceCatalog}, nil
	}
	seg := strings.Split(rest, "/")
	at := func(fromEnd int) string {
		if i := len(seg) - fromEnd; i >= 0 {
			return seg[i]
		}
		return ""
	}
	switch {
	case at(3) == "blobs" && at(2) == "uploads" && at(1) == "":
		return inRepo(route{kind: resourceUploads}, seg, 3)
	case at(2) == "blobs" && at(1) == "uploads":
		return inRepo(route{kind: resourceUploads}, seg, 2)
	case at(3) == "blobs" && at(2) == "uploads":
		return inRepo(route{kind: resourceUpload, upload: at(1)}, seg, 3)
	case at(2) == "tags" && at(1) == "list":
		return inRepo(route{kind: resourceTags}, seg, 2)
	case at(2) == "blobs":
		return withDigest(route{kind: resourceBlob}, seg)
	case at(2) == "referrers":
		return withDigest(route{kind: resourceReferrers}, seg)
	case at(2) == "manifests" && strings.Contains(at(1), ":"):
		return withDigest(route{kind: resourceManifest}, seg)
	case at(2) == "manifests":
		if !validTag(at(1)) {
			return route{}, problemf(http.StatusBadRequest, codeManifestInvalid, "tag %q: expected %s", at(1), tagRule)
		}
		return inRepo(route{kind: resourceManifest, tag: at(1)}, seg, 2)
	}
	return route{}, problemf(http.StatusNotFound, codeNameUnknown, "%q names nothing of a registry", path)
}

func withDigest(rt route, seg []string) (route, error) {
	d, err := parseDigest(seg[len(seg)-1])
	if err != nil {
		return route{}, err
	}
	rt.digest = d
	return inRepo(rt, seg, 2)
}

// inRepo sets the repository: all but the last n segments.
func inRepo(rt route, seg []string, n int) (route, error) {
	rt.repo = strings.Join(seg[:len(seg)-n], "/")
	if !validRepo(rt.repo) {
		return route{}, problemf(http.StatusBadRequest, codeNameInvalid, "repository %q: expected %s", rt.repo, repoRule)
	}
	return rt, nil
}

// reference gives the tag or else the digest, as a path ends with it.
func (rt route) reference() string {
	if rt.tag != "" {
		return rt.tag
	}
	return rt.digest.String()
}
