package registry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// The artifact manifest was part of release candidates of the image specification 1.1 only; clients of that time push
// it still.
const mediaTypeArtifact = "application/vnd.oci.artifact.manifest.v1+json"

// maxManifest is the size in bytes of the largest manifest that is taken: what the specification wants at least.
const maxManifest = 4 << 20

// manifest is what the registry needs to know of one: its type, what it names and what it refers to.
type manifest struct {
	size         int64 // bytes
	mediaType    string
	artifactType string // as the referrers API gives it
	subject      digest.Digest
	children     []child
}

// child is a blob or a manifest that a manifest names.
type child struct {
	desc     ocispec.Descriptor // digest, size and media type only
	label    string             // "config", "l.0", "m.1": the end of the label that keeps it from being collected
	manifest bool
	foreign  bool // may lie elsewhere: the registry need not hold it
}

// document is the union of all kinds of manifest.
type document struct {
	SchemaVersion int                  `json:"schemaVersion"`
	MediaType     string               `json:"mediaType"`
	ArtifactType  string               `json:"artifactType"`
	Config        *ocispec.Descriptor  `json:"config"`
	Layers        []ocispec.Descriptor `json:"layers"`
	Manifests     []ocispec.Descriptor `json:"manifests"`
	Blobs         []ocispec.Descriptor `json:"blobs"`
	Subject       *ocispec.Descriptor  `json:"subject"`
	Annotations   map[string]string    `json:"annotations"`
	FSLayers      json.RawMessage      `json:"fsLayers"` // only Docker's schema 1 has it
}

// parseManifest reads a manifest. mediaType is what the client or a descriptor calls it; "" asks the body.
func parseManifest(body []byte, mediaType string) (*manifest, error) {
	var doc document
	dec := json.NewDecoder(bytes.NewReader(body))
	if err := dec.Decode(&doc); err != nil {
		return nil, manifestInvalid("not JSON of a manifest: %v", err)
	}
	if dec.More() {
		return nil, manifestInvalid("more follows after the manifest")
	}
	if mediaType == "" {
		mediaType = doc.MediaType
	}
	if mediaType == "" {
		mediaType = guessMediaType(doc)
	}
	if doc.MediaType != "" && doc.MediaType != mediaType {
		return nil, manifestInvalid("mediaType %q differs from the Content-Type %q", doc.MediaType, mediaType)
	}
	m := &manifest{size: int64(len(body)), mediaType: mediaType, artifactType: doc.ArtifactType}
	if doc.SchemaVersion != 2 && mediaType != mediaTypeArtifact {
		return nil, manifestInvalid("schemaVersion %d: expected 2", doc.SchemaVersion)
	}
	switch mediaType {
	case ocispec.MediaTypeImageManifest, images.MediaTypeDockerSchema2Manifest:
		if len(doc.Manifests) > 0 || doc.FSLayers != nil {
			return nil, manifestInvalid("an image manifest has neither manifests nor fsLayers")
		}
		if doc.Config == nil {
			return nil, manifestInvalid("config is missing")
		}
		if m.artifactType == "" {
			m.artifactType = doc.Config.MediaType
		}
		m.children = append(m.children, child{desc: *doc.Config, label: "config"})
		for i, l := range doc.Layers {
			m.children = append(m.children, child{desc: l, label: fmt.Sprintf("l.%d", i), foreign: foreignLayer(l.MediaType)})
		}
	case ocispec.MediaTypeImageIndex, images.MediaTypeDockerSchema2ManifestList:
		if doc.Config != nil || len(doc.Layers) > 0 || doc.FSLayers != nil {
			return nil, manifestInvalid("an index has neither config nor layers")
		}
		for i, d := range doc.Manifests {
			m.children = append(m.children, child{desc: d, label: fmt.Sprintf("m.%d", i), manifest: true})
		}
	case mediaTypeArtifact:
		for i, b := range doc.Blobs {
			m.children = append(m.children, child{desc: b, label: fmt.Sprintf("l.%d", i)})
		}
	default:
		return nil, manifestInvalid("media type %q: expected an OCI or Docker schema 2 manifest, index or list", mediaType)
	}
	if doc.Subject != nil {
		if _, err := parseDigest(doc.Subject.Digest.String()); err != nil {
			return nil, manifestInvalid("subject: %v", err)
		}
		m.subject = doc.Subject.Digest
	}
	return m, m.checkChildren()
}

// checkChildren refuses descriptors that can name nothing, and drops of the others what the registry has no use for.
func (m *manifest) checkChildren() error {
	for i := range m.children {
		c := &m.children[i]
		if _, err := parseDigest(c.desc.Digest.String()); err != nil {
			return manifestInvalid("%s: %v", c.label, err)
		}
		if c.desc.Size < 0 {
			return manifestInvalid("%s: size %d is negative", c.label, c.desc.Size)
		}
		c.desc = ocispec.Descriptor{MediaType: c.desc.MediaType, Digest: c.desc.Digest, Size: c.desc.Size}
	}
	return nil
}

// guessMediaType gives the type of a manifest that neither says it itself nor was pushed with it; OCI manifests may.
func guessMediaType(doc document) string {
	if doc.Manifests != nil {
		return ocispec.MediaTypeImageIndex
	}
	return ocispec.MediaTypeImageManifest
}

// foreignLayer tells whether a layer of the type may be kept elsewhere, by licence.
func foreignLayer(mediaType string) bool {
	return strings.HasPrefix(mediaType, "application/vnd.oci.image.layer.nondistributable.v1.") ||
		strings.HasPrefix(mediaType, "application/vnd.docker.image.rootfs.foreign.")
}

// contentType reads the header of a manifest's push, without its parameters.
func contentType(h http.Header) (string, error) {
	v := h.Get("Content-Type")
	if v == "" {
		return "", nil
	}
	mt, _, err := mime.ParseMediaType(v)
	if err != nil {
		return "", manifestInvalid("Content-Type %q: %v", v, err)
	}
	if mt == "application/octet-stream" || mt == "application/json" {
		return "", nil // what a client sends that does not know better
	}
	return mt, nil
}

func manifestInvalid(format string, args ...any) error {
	return problemf(http.StatusBadRequest, codeManifestInvalid, format, args...)
}
