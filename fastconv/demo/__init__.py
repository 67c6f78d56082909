"""The tour: why convolution, in pictures, on real photographs and digits.

``python -m fastconv demo DIR`` runs it::

    command     options, order of the run, progress
      tour        the stops: a picture or table and a sentence each
        material    photographs, digits and trained networks, made when first asked for
      page        one HTML page of all stops

It needs ``pip install "fastconv[demo]"``: matplotlib for the pictures, scikit-learn and pillow for the images.
"""

from __future__ import annotations
