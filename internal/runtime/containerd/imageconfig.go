package containerd

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/platforms"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ikada/ikada/api"
)

func readConfig(ctx context.Context, store content.Provider, desc ocispec.Descriptor) (api.ImageConfig, error) {
	b, err := content.ReadBlob(ctx, store, desc)
	if err != nil {
		return api.ImageConfig{}, fmt.Errorf("read image configuration: %w", err)
	}
	return parseConfig(b)
}

// parseConfig reads an image's configuration, with Docker's additions to the OCI image specification.
func parseConfig(b []byte) (api.ImageConfig, error) {
	var img dockerspec.DockerOCIImage
	if err := json.Unmarshal(b, &img); err != nil {
		return api.ImageConfig{}, fmt.Errorf("read image configuration: %w", err)
	}
	if len(img.RootFS.DiffIDs) == 0 {
		return api.ImageConfig{}, api.Errorf(api.Invalid, "it has no file system to run: an empty image, or an artifact that is no image")
	}
	c := img.Config
	return api.ImageConfig{
		Entrypoint: c.Entrypoint,
		Command:    c.Cmd,
		Env:        c.Env,
		WorkingDir: c.WorkingDir,
		User:       c.User,
		StopSignal: c.StopSignal,
		Expose:     tcpPorts(c.ExposedPorts),
		Volumes:    slices.Sorted(maps.Keys(c.Volumes)),
		Health:     healthOf(c.Healthcheck, c.Shell),
		Labels:     c.Labels,
	}, nil
}

// otherPlatforms gives the error that an image is for other platforms than this machine's; nil when that is not known.
func otherPlatforms(ctx context.Context, store content.Provider, target ocispec.Descriptor) error {
	found, err := images.Platforms(ctx, store, target)
	if err != nil || len(found) == 0 || slices.ContainsFunc(found, platforms.Default().Match) {
		return nil //nolint:nilerr // as good as not known
	}
	names := make([]string, len(found))
	for i, p := range found {
		names[i] = platforms.Format(p)
	}
	return api.Errorf(api.Invalid, "it is for %s, and this node is %s", strings.Join(names, ", "), platforms.DefaultString())
}

// tcpPorts reads "80", "80/tcp" and leaves other protocols out.
func tcpPorts(exposed map[string]struct{}) []uint16 {
	var ports []uint16
	for p := range exposed {
		number, proto, _ := strings.Cut(p, "/")
		n, err := strconv.ParseUint(number, 10, 16)
		if err == nil && n > 0 && (proto == "" || proto == "tcp") {
			ports = append(ports, uint16(n))
		}
	}
	slices.Sort(ports)
	return ports
}

// healthOf reads a HEALTHCHECK; nil when the image has none. Times that it leaves open stay zero.
func healthOf(h *dockerspec.HealthcheckConfig, shell []string) *api.HealthSpec {
	if h == nil || len(h.Test) == 0 {
		return nil
	}
	out := &api.HealthSpec{
		Interval:      api.Duration(h.Interval),
		Timeout:       api.Duration(h.Timeout),
		Retries:       h.Retries,
		StartPeriod:   api.Duration(h.StartPeriod),
		StartInterval: api.Duration(h.StartInterval),
	}
	switch h.Test[0] {
	case "NONE":
		return &api.HealthSpec{Disabled: true}
	case "CMD":
		out.Command = h.Test[1:]
	case "CMD-SHELL":
		if len(shell) == 0 {
			shell = []string{"/bin/sh", "-c"}
		}
		out.Command = slices.Concat(shell, []string{strings.Join(h.Test[1:], " ")})
	default:
		return nil
	}
	if len(out.Command) == 0 {
		return nil
	}
	return out
}
