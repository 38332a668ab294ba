package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// listTags gives a repository's tags in the order of their bytes. A repository is there while it holds anything.
func (r *Registry) listTags(w http.ResponseWriter, req *http.Request, rt route) error {
	list, err := r.repoImages(req.Context(), rt.repo)
	if err != nil {
		return err
	}
	tags := []string{}
	for _, img := range list {
		if repo, tag, ok := splitName(img.Name); ok && repo == rt.repo && tag != "" {
			tags = append(tags, tag)
		}
	}
	if len(list) == 0 && !r.holdsAny(rt.repo) {
		return problemf(http.StatusNotFound, codeNameUnknown, "repository %s is not known", rt.repo)
	}
	slices.Sort(tags)
	page, err := pageOf(w, req, tags)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, "application/json", struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}{rt.repo, page})
}

// catalog gives the repositories that hold an image.
func (r *Registry) catalog(w http.ResponseWriter, req *http.Request, _ route) error {
	repos, err := r.repositories(req.Context())
	if err != nil {
		return err
	}
	page, err := pageOf(w, req, repos)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, "application/json", struct {
		Repositories []string `json:"repositories"`
	}{page})
}

// pageOf gives the n names after last, as the query asks, and sets the Link to the next page if there is one.
func pageOf(w http.ResponseWriter, req *http.Request, names []string) ([]string, error) {
	q := req.URL.Query()
	if last := q.Get("last"); last != "" {
		i, found := slices.BinarySearch(names, last)
		if found {
			i++
		}
		names = names[i:]
	}
	if !q.Has("n") {
		return names, nil
	}
	n, err := strconv.Atoi(q.Get("n"))
	if err != nil || n < 0 {
		return nil, problemf(http.StatusBadRequest, "PAGINATION_NUMBER_INVALID", "n %q: expected a number from 0 on", q.Get("n"))
	}
	if n >= len(names) {
		return names, nil
	}
	if n > 0 {
		setNext(w, req, url.Values{"n": {strconv.Itoa(n)}, "last": {names[n-1]}})
	}
	return names[:n], nil
}

// setNext sets the Link header of RFC 8288 to the request's path with another query.
func setNext(w http.ResponseWriter, req *http.Request, q url.Values) {
	w.Header().Set("Link", fmt.Sprintf(`<%s?%s>; rel="next"`, req.URL.EscapedPath(), q.Encode()))
}

// maxReferrers is the size in bytes of the largest list of referrers: an index, which clients limit as all manifests.
const maxReferrers = maxManifest - 64<<10

// listReferrers gives the manifests of the repository whose subject is the digest, in the order of their digests.
func (r *Registry) listReferrers(w http.ResponseWriter, req *http.Request, rt route) error {
	v, err := r.repoView(req.Context(), rt.repo, true)
	if err != nil {
		return err
	}
	q := req.URL.Query()
	filter, last := q.Get("artifactType"), q.Get("last")
	if filter != "" {
		w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	index := ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageIndex,
		Manifests: []ocispec.Descriptor{},
	}
	size := 0
	for _, d := range slices.Sorted(slices.Values(v.referrers[rt.digest])) {
		s := v.manifests[d]
		if d.String() <= last || filter != "" && s.node.artifactType != filter {
			continue
		}
		desc, err := r.referrer(req.Context(), d, s)
		if errdefs.IsNotFound(err) {
			continue // removed since
		}
		if err != nil {
			return err
		}
		b, err := json.Marshal(desc)
		if err != nil {
			return fmt.Errorf("encode descriptor of %s: %w", d, err)
		}
		if size += len(b) + 1; size > maxReferrers && len(index.Manifests) > 0 {
			next := url.Values{"last": {index.Manifests[len(index.Manifests)-1].Digest.String()}}
			if filter != "" {
				next.Set("artifactType", filter)
			}
			setNext(w, req, next)
			break
		}
		index.Manifests = append(index.Manifests, desc)
	}
	return writeJSON(w, http.StatusOK, ocispec.MediaTypeImageIndex, index)
}

// referrer describes a manifest for the list. Its annotations are read anew: they may be large, and are asked for
// seldom.
func (r *Registry) referrer(ctx context.Context, d digest.Digest, s *shown) (ocispec.Descriptor, error) {
	body, err := r.readManifest(ctx, d)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	var doc struct {
		Annotations map[string]string `json:"annotations"`
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		return ocispec.Descriptor{}, errors.Join(fmt.Errorf("read annotations of %s", d), err)
	}
	desc := s.desc
	desc.ArtifactType = s.node.artifactType
	desc.Annotations = doc.Annotations
	return desc, nil
}
