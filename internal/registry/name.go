package registry

import (
	_ "crypto/sha256" // go-digest knows only the algorithms that are linked in
	_ "crypto/sha512"
	"net/http"
	"regexp"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/ikada/ikada/api"
)

const (
	maxRepo  = 255 - len(api.RegistryHost) - 1 // many clients take no longer name, host included
	repoRule = "lower-case letters and digits in components separated by /, in which . _ __ and - may separate, " +
		"at most 243 characters"
	tagRule = "1 to 128 letters, digits, _ . and -, not beginning with . or -"
)

var (
	repoPattern = regexp.MustCompile(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagPattern  = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
)

func validRepo(s string) bool { return len(s) <= maxRepo && repoPattern.MatchString(s) }

func validTag(s string) bool { return tagPattern.MatchString(s) }

// parseDigest takes sha256 and sha512 digests.
func parseDigest(s string) (digest.Digest, error) {
	d, err := digest.Parse(s)
	if err != nil {
		return "", problemf(http.StatusBadRequest, codeDigestInvalid, "digest %q: %v", s, err)
	}
	if a := d.Algorithm(); a != digest.SHA256 && a != digest.SHA512 {
		return "", problemf(http.StatusBadRequest, codeDigestInvalid, "digest %q: expected sha256 or sha512", s)
	}
	return d, nil
}

func tagName(repo, tag string) string { return api.RegistryHost + "/" + repo + ":" + tag }

func digestName(repo string, d digest.Digest) string {
	return api.RegistryHost + "/" + repo + "@" + d.String()
}

// splitName takes the name of an image apart; ok is false when it is none of the registry's. The tag is empty for an
// image known by digest.
func splitName(name string) (repo, tag string, ok bool) {
	rest, ok := strings.CutPrefix(name, api.RegistryHost+"/")
	if !ok {
		return "", "", false
	}
	rest, _, pinned := strings.Cut(rest, "@")
	repo, tag, _ = strings.Cut(rest, ":")
	if pinned {
		tag = ""
	}
	if !validRepo(repo) || !pinned && !validTag(tag) {
		return "", "", false
	}
	return repo, tag, true
}

// Reference gives the name in the runtime's image store of what a user calls ref, if ref's host is host, an address
// such as "localhost:7600" that this registry is reached under; ok is false when it is not. A reference without tag and
// digest means the tag latest; one with both means the digest. Names that begin with [api.RegistryHost] are taken too.
func Reference(host, ref string) (local string, ok bool) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return "", false
	}
	domain, repo := reference.Domain(named), reference.Path(named)
	if !strings.EqualFold(domain, host) && domain != api.RegistryHost || !validRepo(repo) {
		return "", false
	}
	if d, ok := named.(reference.Digested); ok {
		return digestName(repo, d.Digest()), true
	}
	tagged, ok := reference.TagNameOnly(named).(reference.Tagged)
	if !ok {
		return "", false
	}
	return tagName(repo, tagged.Tag()), true
}
