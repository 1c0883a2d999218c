"""What is shipped: extras and pins, images, make targets, and the manifests to deploy with."""
