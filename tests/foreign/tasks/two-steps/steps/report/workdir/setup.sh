touch ready
