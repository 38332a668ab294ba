package build

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/v2/pkg/namespaces"

	"github.com/ikada/ikada/api"
)

// labelBuilt marks the names of images that a build made, as opposed to those that a user pushed.
const labelBuilt = "dev.ikada.built"

// Built tells by an image's labels whether a build made it, so that it may go when no release needs it.
func Built(labels map[string]string) bool { return labels[labelBuilt] != "" }

// mark labels the names of a build's result. The write also renews the time of the image's last change, by which the
// house-keeper knows a build that found nothing to do from one of long ago.
func (e *engine) mark(ctx context.Context, namespace string, env api.EnvRef, names ...string) error {
	ctx = namespaces.WithNamespace(ctx, namespace)
	for _, name := range names {
		if err := e.markName(ctx, name, env); err != nil {
			return fmt.Errorf("label %s: %w", name, err)
		}
	}
	return nil
}

func (e *engine) markName(ctx context.Context, name string, env api.EnvRef) error {
	images := e.client.ImageService()
	img, err := images.Get(ctx, name)
	if err != nil {
		return err
	}
	if img.Labels == nil {
		img.Labels = map[string]string{}
	}
	img.Labels[labelBuilt] = env.String()
	_, err = images.Update(ctx, img, "labels")
	return err
}
