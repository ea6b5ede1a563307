package main

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// manifests builds a folder with kustomize and reads every object into its type of the API.
func manifests(path string) (string, error) {
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), path)
	if err != nil {
		return "", err
	}
	var kinds []string
	for _, r := range built.Resources() {
		data, err := r.AsYAML()
		if err != nil {
			return "", err
		}
		var into any
		switch kind := r.GetApiVersion() + " " + r.GetKind(); kind {
		case "v1 Service":
			into = &corev1.Service{}
		case "v1 ConfigMap":
			into = &corev1.ConfigMap{}
		case "apps/v1 Deployment":
			into = &appsv1.Deployment{}
		case "apps/v1 StatefulSet":
			into = &appsv1.StatefulSet{}
		case "autoscaling/v2 HorizontalPodAutoscaler":
			into = &autoscalingv2.HorizontalPodAutoscaler{}
		default:
			return "", fmt.Errorf("%s: has no type here", kind)
		}
		if err := yaml.UnmarshalStrict(data, into); err != nil {
			return "", fmt.Errorf("%s %s: %w", r.GetKind(), r.GetName(), err)
		}
		kinds = append(kinds, r.GetKind())
	}
	return fmt.Sprintf("objects %q", kinds), nil
}
