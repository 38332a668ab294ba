package build

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"

	"github.com/distribution/reference"

	"github.com/ikada/ikada/api"
)

// Repository gives the repository that the images of a service are kept in: "ikada.local/<app>/<service>".
func Repository(app, service string) string {
	return api.RegistryHost + "/" + pathComponent(app) + "/" + pathComponent(service)
}

// Latest gives the name of the image that a service's last build in an environment made. It moves with every build.
func Latest(ref api.EnvRef, service string) string {
	return Repository(ref.App, service) + ":latest-" + tag(ref.Env)
}

var (
	component  = regexp.MustCompile(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$`)
	tagText    = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,100}$`)
	notAllowed = regexp.MustCompile(`[^a-z0-9]+`)
)

// pathComponent gives a name as an image's path may hold it. Names that had to be changed carry a part of their hash,
// so that "Web" and "web" stay two.
func pathComponent(name string) string {
	if component.MatchString(name) {
		return name
	}
	return strings.Trim(notAllowed.ReplaceAllString(strings.ToLower(name), "-"), "-") + "x" + shortHash(name)
}

func tag(name string) string {
	if tagText.MatchString(name) {
		return name
	}
	return strings.Trim(notAllowed.ReplaceAllString(strings.ToLower(name), "-"), "-") + "x" + shortHash(name)
}

func shortHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:4])
}

// App gives the app whose repository of this cluster's registry a tag names: the first part of its name. ok is false for a
// tag of another registry, which no build gives.
func (b *Builder) App(tag string) (app string, ok bool) {
	name, ok := ownName(tag, b.cfg.OwnHost)
	app, _, _ = strings.Cut(strings.TrimPrefix(name, api.RegistryHost+"/"), "/")
	app, _, _ = strings.Cut(app, ":") // of a name with one part
	return app, ok
}

// ownName gives the name in the local store that a reference into this cluster's registry means; ok is false for a
// reference into another.
func ownName(ref string, own func(host string) bool) (name string, ok bool) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return "", false
	}
	host := reference.Domain(named)
	if host != api.RegistryHost && (own == nil || !own(host)) {
		return "", false
	}
	tagged, isTagged := reference.TagNameOnly(named).(reference.Tagged)
	if !isTagged {
		return "", false
	}
	return api.RegistryHost + "/" + reference.Path(named) + ":" + tagged.Tag(), true
}
