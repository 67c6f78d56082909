"""What a convolution costs and saves against a fully connected layer, measured on real images.

``python -m fastconv bench`` runs it all::

    command     options, order of the run, progress
      cases       layers of LeNet-5, AlexNet, VGG, ResNet and growing sizes; photographs and digits
        layers      what a layer costs on paper
      roofline    what this machine could do at best, measured
      compare     a convolution beside fully connected layers: checked, then timed
        check       is it right?   against fastconv.reference
        timing      how long does it take?   interleaved rounds
      train       LeNet-5 beside fully connected networks on digits
      report      tables and JSON;   plot: pictures

The photographs and digits are scikit-learn's; it and the packages for tables and pictures come with
``pip install "fastconv[bench]"`` and are imported only where they are used.
"""

from __future__ import annotations
